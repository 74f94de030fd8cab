"""lanewise: campaigns of many independent Bayesian inference problems, as lanes of one vmapped JAX program."""

__version__ = "0.1.0"
