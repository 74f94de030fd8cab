"""`doctor`: what this machine has, what a campaign lacks on it, and the remedies."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from lanewise.errors import MachineError, StorageError
from lanewise.machine import device, host, provenance
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.planning import INDEX_VARIABLES
from lanewise.storage.store import HOME, PROBES, Store, stamp

_GIB = 2**30
_LITTLE_DISK_BYTES = 2 * _GIB
# Variables that change how lanewise, JAX and XLA work.
_PREFIXES = ("LANEWISE_", "JAX_", "XLA_", "CUDA_VISIBLE", "NVIDIA_VISIBLE")


class Grade(StrEnum):
    """Severity of a finding."""

    FINE = "ok"
    NOTE = "note"
    FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        text: what was found, with a remedy if there is a problem.
        exit_code: exit code with which `lanewise run` would fail; 0 if it would not.
    """

    topic: str
    grade: Grade
    text: str
    exit_code: int = 0


def examine(manifest: Manifest | None = None) -> list[Finding]:
    """Check this machine, and what the campaign needs of it."""
    found = [*_software(), *_devices(), *_host(), *_places(), *_environment()]
    if manifest is not None:
        found += [*_needs(manifest), *_storage(manifest.output.url)]
    return found


def _software() -> Iterator[Finding]:
    versions = dict(provenance.versions())
    python = versions.pop("python")
    listed = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "lanewise")
    yield Finding("lanewise", Grade.FINE, f"{versions['lanewise']} on Python {python}")
    yield Finding("packages", Grade.FINE, listed)
    stores = {"s3://": "s3fs", "gs://": "gcsfs", "az://": "adlfs"}
    there = [scheme for scheme, package in stores.items() if find_spec(package)]
    text = f"{', '.join(there) or 'none'}; the extras s3, gcs and azure install them"
    yield Finding("object storage", Grade.FINE if there else Grade.NOTE, text)


def _devices() -> Iterator[Finding]:
    import jax

    driver = _driver()
    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError) as error:
        text = f"JAX found no usable device: {error or 'no GPU'}; check the driver and JAX_PLATFORMS"
        yield Finding("device", Grade.FAULT, text, MachineError.exit_code)
        return
    kinds = ", ".join(sorted({f"{one.platform} ({one.device_kind})" for one in devices}))
    limit = device.device_bytes()
    shown = f"{len(devices)} × {kinds}" + (f", {limit / _GIB:.1f} GiB each for JAX" if limit else "")
    if devices[0].platform == "cpu" and driver:
        remedy = "install lanewise[cuda12] (driver ≥ 525) or [cuda13] (driver ≥ 580)"
        yield Finding("device", Grade.NOTE, f"{shown}, though there is a GPU: {driver}; {remedy}")
    else:
        yield Finding("device", Grade.FINE, shown)
    yield Finding("driver", Grade.FINE, driver or "no NVIDIA driver (nvidia-smi); computing on the CPU")


def _driver() -> str:
    try:
        found = host.gpus("name,driver_version,memory.total")
    except MachineError as error:
        return str(error)
    return "; ".join(f"{name}, driver {number}, {size}" for name, number, size in found)


def _host() -> Iterator[Finding]:
    machine, ours = os.cpu_count() or 1, host.n_cores()
    of = f" of the machine's {machine}" if machine != ours else ""
    yield Finding("cores", Grade.FINE, f"{ours}{of}")
    yield Finding("memory", Grade.FINE, f"{host.memory_bytes() / _GIB:.1f} GiB")


def _places() -> Iterator[Finding]:
    cache = device.cache_directory()
    if problem := _unwritable(cache):
        text = f"{cache}: {problem}; every run compiles again: set JAX_COMPILATION_CACHE_DIR to a writable directory"
        yield Finding("compiled programs", Grade.NOTE, text)
    else:
        sizes = [path.stat().st_size for path in cache.rglob("*") if path.is_file()]
        text = f"{cache}: {len(sizes)} files, {sum(sizes) / 2**20:.0f} MiB; may be removed: programs are compiled again"
        yield Finding("compiled programs", Grade.FINE, text)
    yield _disk("temporary files", Path(tempfile.gettempdir()), "set TMPDIR to a directory with more space")


def _disk(topic: str, folder: Path, remedy: str) -> Finding:
    free = shutil.disk_usage(folder).free
    little = free < _LITTLE_DISK_BYTES
    text = f"{folder}: {free / _GIB:.1f} GiB free{f'; {remedy}' if little else ''}"
    return Finding(topic, Grade.NOTE if little else Grade.FINE, text)


def _unwritable(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _environment() -> Iterator[Finding]:
    names = sorted(name for name in os.environ if name.startswith(_PREFIXES) or name in INDEX_VARIABLES)
    listed = ", ".join(f"{name}={os.environ[name]}" for name in names)
    yield Finding("environment", Grade.FINE, listed or "no variables of lanewise, JAX or XLA are set")


def _needs(manifest: Manifest) -> Iterator[Finding]:
    asked = manifest.resources
    try:
        device.prepare(asked.device, manifest.config.precision)
    except MachineError as error:
        yield Finding("resources.device", Grade.FAULT, str(error), error.exit_code)
    else:
        yield Finding("resources.device", Grade.FINE, f"{asked.device} is satisfied")
    if (cores := host.n_cores()) < asked.cpus:
        text = f"{asked.cpus} requested, {cores} here; the campaign runs, but slower"
        yield Finding("resources.cpus", Grade.NOTE, text)
    if (memory := host.memory_bytes()) < host.quantity_bytes(asked.memory):
        text = f"{asked.memory} requested, {memory / _GIB:.1f} GiB here; lower batch.size or batch.width if it runs out"
        yield Finding("resources.memory", Grade.NOTE, text)


def _storage(url: str) -> Iterator[Finding]:
    """Write, read, list and remove a small object below the output URL."""
    path = f"{PROBES}/{stamp()}"
    removed = "removed"
    is_new = "://" not in url and not Path(url).exists()
    began = time.monotonic()
    try:
        store = Store(url)
        store.put(path, b"lanewise")
        whole = store.read(path) == b"lanewise" and path.rpartition("/")[2] in store.names(PROBES)
        try:
            store.remove(path)
        except StorageError:
            removed = "NOT removed (this role has no right to delete: use --no-delete)"
        took = time.monotonic() - began
        conditional = store.conditional
    except StorageError as error:
        yield Finding("output.url", Grade.FAULT, str(error), error.exit_code)
        return
    if not whole:
        text = f"{url}: the content read is not that written; results would not be safe: choose another output.url"
        yield Finding("output.url", Grade.FAULT, text, StorageError.exit_code)
        return
    yield Finding("output.url", Grade.FINE, f"{url}: written, read, listed and {removed} in {took * 1e3:.0f} ms")
    if conditional:
        text = "supported: of two commits of one chunk, the first is valid"
    else:
        text = "not supported by this store: of two commits of one chunk, the lowest attempt is valid, which is as safe"
    yield Finding("conditional writes", Grade.FINE if conditional else Grade.NOTE, text)
    if is_new:
        # The check removes the directories that it made, if they are empty.
        store.remove(PROBES)
        with contextlib.suppress(OSError):
            os.removedirs(Path(url) / HOME)
    if "://" not in url:
        yield _disk("space for results", _nearest(Path(url)), "free some space, or choose another output.url")


def _nearest(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
