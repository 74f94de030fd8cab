"""The locked packages for GPUs install as they are locked, and JAX imports its plugin; gigabytes, and minutes each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.real
@pytest.mark.parametrize("cuda", ["cuda12", "cuda13"])
def test_a_locked_environment_for_gpus_installs_and_imports(cuda: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    quiet = ["--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    locked = ["--require-hashes", "-r", f"requirements-{cuda}.lock"]
    subprocess.run([python, "-m", "pip", "install", *quiet, *locked], check=True)
    subprocess.run([python, "-m", "pip", "check", "--disable-pip-version-check"], check=True)
    # The versions agree and the plugin's libraries are found; a GPU's driver is what is missing here.
    lines = [
        "import importlib.metadata, pathlib, jax, jaxlib, numpyro, arviz, galsim",
        f"from jax_plugins import xla_{cuda} as plugin",
        f"assert importlib.metadata.version('jax-{cuda}-plugin') == jaxlib.__version__",
        "assert (pathlib.Path(plugin.__file__).parent / 'xla_cuda_plugin.so').exists()",
        f"from jax_{cuda}_plugin import _solver, _linalg",
        "assert jax.jit(jax.numpy.sin)(0.0) == 0",
    ]
    environment = {"JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin"}
    subprocess.run([python, "-c", "\n".join(lines)], check=True, env=environment)
