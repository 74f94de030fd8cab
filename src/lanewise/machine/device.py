"""JAX on this machine: device, precision and compilation cache."""

from __future__ import annotations

import os
from pathlib import Path

import jax
import platformdirs

from lanewise.errors import MachineError


def prepare(device: str, precision: str) -> bool:
    """Configure JAX; must run before its first computation.

    Args:
        device: `auto`, `cpu` or `gpu`.
        precision: `float32` or `float64`.

    Returns:
        Whether lanes should run one after the other (CPU) rather than side by side.

    Raises:
        MachineError: JAX finds no usable device, or a GPU is required and JAX has none.
    """
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", precision == "float64")
    if jax.default_matmul_precision.value is None:
        # GPUs since Ampere would round the factors of a float32 product to 10 bits (TF32): images off by 1e-4 and more.
        jax.config.update("jax_default_matmul_precision", "highest")
    _use_cache()
    try:
        backend = jax.default_backend()
    except (RuntimeError, AssertionError) as error:
        # With JAX_PLATFORMS=cuda and no GPU, JAX raises an AssertionError without text.
        raise MachineError(
            f"JAX found no usable device: {error or 'no GPU'}; check the driver and JAX_PLATFORMS"
        ) from None
    if device == "gpu" and backend != "gpu":
        raise MachineError(
            f"resources.device is gpu, and JAX runs on {backend} here; install lanewise[cuda12] or [cuda13] and check "
            "nvidia-smi, or set resources.device to auto"
        )
    return backend == "cpu"


def cache_directory() -> Path:
    """Directory for compiled programs, kept between runs; JAX_COMPILATION_CACHE_DIR overrides it."""
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("lanewise")) / "jax"


def _use_cache() -> None:
    directory = cache_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        # Without a cache, each run only compiles again (seconds).
        return
    jax.config.update("jax_compilation_cache_dir", str(directory))
    # Small programs, too: a start compiles a hundred of them, which takes seconds.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # XLA's own sub-caches hold absolute paths and break when the directory moves.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")


def device_bytes() -> int | None:
    """Device memory that JAX may use [bytes]; None if the device has no memory of its own."""
    stats = jax.devices()[0].memory_stats() or {}
    return int(stats["bytes_limit"]) if "bytes_limit" in stats else None
