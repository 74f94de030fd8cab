"""lanewise: campaigns of many independent Bayesian inference problems, as lanes of one vmapped JAX program.

`lanewise.load("manifest.yaml")` gives a `Campaign`: `.run()`, `.aggregate()`, `.summary`, `.posterior(run_id)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lanewise.api import Campaign, load

__version__ = "0.1.0"
__all__ = ["Campaign", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # Imported on first use: `lanewise --help` must not import NumPy.
    if name in {"Campaign", "load"}:
        from lanewise import api

        return getattr(api, name)
    raise AttributeError(f"module 'lanewise' has no attribute '{name}'")
