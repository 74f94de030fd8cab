"""Small campaigns of kind model."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import yaml

HEAD = "import jax\nimport jax.numpy as jnp\nimport numpy as np\nimport numpyro\nimport numpyro.distributions as dist\n"
# The mean of normal numbers of known width, in closed form.
MEAN = """
def model(data):
    mu = numpyro.sample("mu", dist.Normal(0, 10))
    numpyro.deterministic("twice", 2 * mu)
    with numpyro.plate("point", data["y"].shape[0]):
        numpyro.sample("y", dist.Normal(mu, 2.0), obs=data["y"])
"""
SIZES = (5, 7, 11, 5)


def table(sizes: tuple[int, ...] = SIZES) -> str:
    """A long table: id, x, y."""
    rng = np.random.default_rng(5)
    rows = ["star,x,y"]
    for star, n in enumerate(sizes):
        rows += [f"s{star},{x:.4f},{y:.4f}" for x, y in zip(np.arange(n) / 2, rng.normal(star, 2.0, n), strict=True)]
    return "\n".join(rows) + "\n"


def write(folder: Path, source: str = MEAN, data: str | None = None, **changes: Any) -> str:
    """Write model.py, stars.csv and m.yaml, with some keys replaced; returns the path of the manifest."""
    (folder / "model.py").write_text(HEAD + textwrap.dedent(source))
    (folder / "stars.csv").write_text(table() if data is None else data)
    content: dict[str, Any] = {
        "apiVersion": "lanewise/v1",
        "kind": "model",
        "name": "stars",
        "model": "model.py:model",
        "inputs": {"table": "stars.csv", "id": "star", "columns": ["x", "y"]},
        "inference": {"method": "laplace", "laplace_config": {"samples": 400}},
        "batch": {"size": 4, "width": 2},
        "output": {"url": str(folder / "results")},
        **changes,
    }
    path = folder / "m.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)
