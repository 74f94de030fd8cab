"""lanewise: campaigns of many independent Bayesian inference problems, as lanes of one vmapped JAX program.

`lanewise.load("manifest.yaml")` gives a `Campaign`: `.run()`, `.aggregate()`, `.summary`, `.posterior(run_id)`.
`lanewise.fit(model, table, id="star", columns=["x", "y"])` infers a NumPyro model for every data set of a table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lanewise.api import Campaign, fit, load

__version__ = "0.2.0"
__all__ = ["Campaign", "__version__", "fit", "load"]


def __getattr__(name: str) -> Any:
    # Imported on first use: `lanewise --help` must not import NumPy.
    if name in {"Campaign", "fit", "load"}:
        from lanewise import api

        return getattr(api, name)
    raise AttributeError(f"module 'lanewise' has no attribute '{name}'")
