"""Every program lowers for CUDA, on a machine without a GPU.

What a lowering proves: every operation of a program exists on that platform, and no host callback has crept in. XLA's
own compilation for a GPU, and its numbers, need one.
"""

from __future__ import annotations

import copy
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import SCENE
from lanewise import methods
from lanewise.engine import programs
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.machine import device
from lanewise.methods import METHODS

WIDTH = 4
SIZE = {"type": "LogNormal", "mean": 0.5, "sigma": 0.1}
INDEX = {"type": "Uniform", "min": 1, "max": 4}
SUM = {
    "a": {"type": "Sersic", "n": INDEX, "half_light_radius": SIZE, "fraction": {"type": "Uniform", "min": 0, "max": 1}},
    "b": {"type": "Moffat", "beta": 3.0, "half_light_radius": 0.4},
}
SCENES: dict[str, dict[str, Any]] = {
    "modes": {"image": {"padding": 1}},
    "padded grid": {"image": {"padding": 2}, "psf": {"type": "Moffat", "sigma": 0.9, "beta": 2.5}},
    "weights": {"image": {"noise": {"type": "PerPixel", "sigma": 1e-3}}},
    "sum": {"gal": {"type": "Sum", "components": SUM}},
}


def scene(name: str, method: str, precision: str) -> shear_config.ShearConfig:
    found = copy.deepcopy(SCENE)
    for key, changes in SCENES[name].items():
        found[key] = {**found[key], **changes}
    if name == "sum":
        del found["gal"]["half_light_radius"]
    return shear_config.parse({**found, "inference": {"method": method, "precision": precision}})


def lower(name: str, method: str, precision: str) -> None:
    """Every program of a campaign's engine, for CUDA."""
    device.prepare("cpu", precision)
    config = scene(name, method, precision)
    problem = ShearProblem(config)
    # As on an accelerator: lanes side by side.
    built = programs.build(
        methods.build(method, config.inference.settings, sequential=False), problem, sequential=False
    )
    image = np.zeros((24, 24))
    one = problem.prepare({"image": image, "weight": image + 1})
    data = {key: jnp.zeros((WIDTH, *value.shape), precision) for key, value in one.items()}
    inputs = (jax.random.split(jax.random.key(0), WIDTH), data, jnp.ones(WIDTH, bool))
    state = jax.eval_shape(built.init, *inputs)
    positions = jnp.zeros((WIDTH, 10, len(problem.names)), precision)
    calls: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "init": (built.init.jitted, inputs),
        "advance": (built.advance.jitted, (state, data)),
        "finish": (built.finish.jitted, (state, data)),
        "constrain": (built.constrain, (positions,)),
        "flaw": (built.flaw.jitted, (positions[:, 0], *inputs[1:])),
    }
    for which, (function, arguments) in calls.items():
        exported = jax.export.export(function, platforms=["cuda"])(*arguments)
        assert exported.platforms == ("cuda",), which


TABLE = list(itertools.product(SCENES, METHODS, ("float32", "float64")))
# One of a sampler's loops and one of linear algebra; every case takes seconds, for tracing.
QUICK = [("modes", "nuts", "float32"), ("modes", "map", "float64")]


@pytest.mark.long
@pytest.mark.parametrize(("name", "method", "precision"), QUICK)
def test_a_campaigns_programs_lower_for_cuda(name: str, method: str, precision: str) -> None:
    lower(name, method, precision)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method", "precision"), [case for case in TABLE if case not in QUICK])
def test_every_method_lowers_for_cuda_on_every_scene(name: str, method: str, precision: str) -> None:
    lower(name, method, precision)


def test_a_host_callback_would_be_refused() -> None:
    def calls_back(x: jax.Array) -> jax.Array:
        found: jax.Array = jax.pure_callback(np.sin, jax.ShapeDtypeStruct((), "float32"), x)
        return found

    with pytest.raises(ValueError, match="platform"):
        jax.export.export(jax.jit(calls_back), platforms=["cuda"])(jnp.float32(0))
