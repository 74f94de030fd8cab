"""Settings of the methods, apart from their code so that a manifest is read without importing JAX."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MapSettings:
    """Settings of `map`.

    Attributes:
        gradient_norm: converged below this; in units of the posterior's width, see `mode.Mode.gradient_norm`.
        max_iterations: second-order steps at the most.
    """

    gradient_norm: float = 1e-3
    max_iterations: int = 100


@dataclass(frozen=True)
class NutsSettings:
    """Settings of `nuts`.

    Attributes:
        warmup: adaptation steps per chain.
        samples: draws kept per chain.
        chains: chains per realization, a lane each.
        dense_mass: adapt a full metric on top of the whitening, not only its diagonal.
        target_accept: acceptance probability that the step size is adapted to.
        max_tree_depth: trajectories have at most 2^depth − 1 leapfrog steps.
    """

    warmup: int = 500
    samples: int = 1000
    chains: int = 1
    dense_mass: bool = False
    target_accept: float = 0.8
    max_tree_depth: int = 10
