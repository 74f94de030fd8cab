"""How JAX is set up."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PRODUCT = """
import jax, jax.numpy as jnp
from lanewise.machine import device
device.prepare("cpu", "float32")
print(jax.jit(lambda a: a @ a).lower(jnp.ones((2, 2))).as_text())
"""


@pytest.mark.parametrize(("asked", "expected"), [(None, "HIGHEST"), ("tensorfloat32", "HIGH,")])
def test_products_keep_float32_unless_the_user_asks_for_less(asked: str | None, expected: str) -> None:
    # A GPU reads the precision of a product in its program; by default it takes TF32. No CPU does, so the text is read.
    environment = {name: value for name, value in os.environ.items() if name != "JAX_DEFAULT_MATMUL_PRECISION"}
    if asked is not None:
        environment["JAX_DEFAULT_MATMUL_PRECISION"] = asked
    program = subprocess.run(
        [sys.executable, "-c", PRODUCT], env=environment, capture_output=True, text=True, check=True
    )
    (product,) = [line for line in program.stdout.splitlines() if "dot_general" in line]
    assert expected in product
