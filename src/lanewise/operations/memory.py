"""Prediction of the memory that a chunk needs, from XLA's analysis of the compiled program."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NoReturn

import jax

from lanewise.engine.engine import Engine
from lanewise.errors import MachineError, ManifestError
from lanewise.machine import device, host
from lanewise.manifest import registry
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Plan
from lanewise.manifest.protocols import Needs

_GIB = 2**30
# Python with JAX and GalSim while it compiles: 0.6 to 0.9 GiB resident on Linux, x86-64, jax 0.10.
_PROCESS_BYTES = 2**30
# Copies of the draws: by round, joined, by chain, packed, and as files; the measured peak is 4.4 copies.
_COPIES = 5


@dataclass(frozen=True)
class Memory:
    """Memory of a chunk.

    Attributes:
        width: lanes in flight.
        device: device that the program was compiled for.
        estimate: whether the manifest requires another device than this machine has.
        device_bytes: arguments, results and temporaries of the program.
        device_limit_bytes: memory of the device for JAX; None if it shares the host's memory, or is not here.
        host_bytes: the process, the draws of a chunk, and the program if the device shares the host's memory.
        host_limit_bytes: resources.memory.
        draws_bytes: part of host_bytes that is proportional to batch.size.
        record_bytes: one copy of the draws of one realization.
    """

    width: int
    device: str
    estimate: bool
    device_bytes: int
    device_limit_bytes: int | None
    host_bytes: int
    host_limit_bytes: int
    draws_bytes: int
    record_bytes: int

    @property
    def text(self) -> str:
        """One line for people."""
        of = f" of {size_text(self.device_limit_bytes)}" if self.device_limit_bytes else ""
        how = "an estimate, because this machine lacks the manifest's device; compiled" if self.estimate else "compiled"
        return (
            f"memory: {size_text(self.host_bytes)} of the container's {size_text(self.host_limit_bytes)}; "
            f"{self.width} lanes {size_text(self.device_bytes)}{of} ({how} for {self.device})"
        )


def predict(manifest: Manifest, plan: Plan) -> Memory | None:
    """Compile for this machine without running anything.

    If the manifest requires a GPU and there is none, the program is compiled for the CPU in the form for a GPU, and
    the result is an estimate.

    Returns:
        None for a family that does not run as lanes, or if the first chunk's data cannot be made.

    Raises:
        ManifestError: a chunk does not fit into the device or into resources.memory; names a width or size that fits.
    """
    if registry.family(manifest.kind).lanes is None:
        return None
    engine, estimate = _engine(manifest, plan)
    if (found := engine.footprint(plan.sample)) is None:
        return None
    program_bytes, record_bytes = found
    draws = _COPIES * plan.largest * record_bytes
    device_limit = device.device_bytes()
    shared = device_limit is None and not estimate
    memory = Memory(
        width=plan.width,
        device=jax.devices()[0].device_kind,
        estimate=estimate,
        device_bytes=program_bytes,
        device_limit_bytes=device_limit,
        host_bytes=_PROCESS_BYTES + draws + (program_bytes if shared else 0),
        host_limit_bytes=host.quantity_bytes(manifest.resources.memory),
        draws_bytes=draws,
        record_bytes=record_bytes,
    )
    _check(manifest, plan, engine, memory)
    return memory


def of_solver(manifest: Manifest, plan: Plan) -> Needs | None:
    """Needs of the first chunk of a family with a solver; None for other families, or if they cannot be predicted.

    Raises:
        ManifestError: the chunk does not fit into resources.memory.
    """
    predict_needs = registry.family(manifest.kind).needs
    found = predict_needs(manifest, plan.sample) if predict_needs else None
    if found is None or found.host_bytes <= host.quantity_bytes(manifest.resources.memory):
        return found
    text = f"{found.what}: needs about {size_text(found.host_bytes)}, got {manifest.resources.memory}; {found.remedy}"
    raise ManifestError([manifest.document.complaint(("resources", "memory"), text)])


def size_text(n_bytes: float) -> str:
    """A size [bytes] in GiB or MiB."""
    return f"{n_bytes / _GIB:.1f} GiB" if n_bytes >= 0.05 * _GIB else f"{math.ceil(n_bytes / 2**20)} MiB"


def _engine(manifest: Manifest, plan: Plan) -> tuple[Engine, bool]:
    """The engine, or an equivalent one on the CPU if the required device is not here; and whether it is the latter."""
    try:
        return Engine(manifest, plan), False
    except MachineError:
        here = replace(manifest, resources=replace(manifest.resources, device="cpu"))
        return Engine(here, plan, side_by_side=True), True


def _check(manifest: Manifest, plan: Plan, engine: Engine, memory: Memory) -> None:
    if memory.device_limit_bytes is not None and memory.device_bytes > memory.device_limit_bytes:
        fits = _width_within(memory.device_limit_bytes, plan, engine, memory)
        needed, there = size_text(memory.device_bytes), size_text(memory.device_limit_bytes)
        text = f"{memory.width} lanes need {needed}, the device has {there}"
        _refuse(manifest, "width", text, f"lower it to {fits} or less" if fits else "choose a larger device")
    spare = memory.host_limit_bytes - memory.host_bytes
    if spare >= 0:
        return
    asked = f"resources.memory is {manifest.resources.memory}"
    text = f"a chunk needs {size_text(memory.host_bytes)}, {asked}"
    size = plan.largest
    if memory.draws_bytes > -spare:
        fits = size * (memory.draws_bytes + spare) // memory.draws_bytes
        if fits:
            _refuse(manifest, "size", text, f"lower it to {fits} or less, or raise resources.memory")
    fits = _width_within(memory.device_bytes + spare, plan, engine, memory)
    remedy = f"lower it to {fits} or less, or raise resources.memory" if fits else "raise resources.memory"
    _refuse(manifest, "width", text, remedy)


def _refuse(manifest: Manifest, key: str, text: str, remedy: str) -> NoReturn:
    raise ManifestError([manifest.document.complaint(("batch", key), f"{text}; {remedy}")])


def _width_within(limit: int, plan: Plan, engine: Engine, memory: Memory) -> int:
    """The largest width that fits into the limit [bytes], extrapolated from this width and its half; 0 if none fits."""
    half = max(memory.width // 2, 1)
    found = engine.footprint(plan.sample, half)
    if found is None or half == memory.width:
        return 0
    slope = (memory.device_bytes - found[0]) / (memory.width - half)
    return max(0, int(half + (limit - found[0]) / slope)) if slope > 0 else 0
