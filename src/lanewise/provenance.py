"""What a commit says of how it was made."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = ("lanewise", "jax", "jaxlib", "numpyro", "numpy", "galsim", "jax-galsim", "h5netcdf", "fsspec")


def versions() -> dict[str, str]:
    """Installed versions of what fixes the numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, str]:
    """Host and device."""
    import jax

    device = jax.devices()[0]
    return {"host": platform.node(), "platform": device.platform, "device": device.device_kind}
