"""Cores, memory and GPUs of this machine, and times from its environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lanewise.errors import MachineError, UsageError

_CGROUP = Path("/sys/fs/cgroup")
# Group of control files by generation: version 2 has one tree, version 1 one per controller.
_CGROUP_MEMORY = ("memory.max", "memory/memory.limit_in_bytes")
_CGROUP_QUOTA = ("cpu.max", "cpu/cpu.cfs_quota_us")
_UNITS = {"Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "M": 10**6, "G": 10**9, "T": 10**12}


def affinity() -> list[int]:
    """Numbers of the cores that this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def n_cores() -> int:
    """Number of cores that this process may use: its affinity, limited by the quota of its container."""
    n_allowed = len(affinity())
    quota = _first_line(_CGROUP_QUOTA).split()
    period = quota[1:] or _first_line(("cpu/cpu.cfs_period_us",)).split()
    if quota and period and quota[0].isdecimal() and period[0].isdecimal():
        return max(1, min(n_allowed, round(int(quota[0]) / int(period[0]))))
    return n_allowed


def one_thread_for_small_products() -> None:
    """One thread for NumPy, SciPy and GalSim in this process and those it starts; before NumPy is imported.

    Their threads share even products of 40 × 40 and a stamp's noise, and spin while they wait for each other: beside a
    second process such a product took forty times as long. With one, bits do not depend on the number of cores either.
    JAX has threads of its own. OMP_NUM_THREADS in the environment overrides it.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def memory_bytes() -> int:
    """Memory that this process may use [bytes]: the machine's, or the limit of its container."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _first_line(_CGROUP_MEMORY)
    return min(total, int(limit)) if limit.isdecimal() else total


def is_quantity(text: str) -> bool:
    """Whether the text is a Kubernetes quantity of memory such as 16Gi."""
    return re.fullmatch(rf"[1-9][0-9]*({'|'.join(_UNITS)})", text) is not None


def quantity_bytes(text: str) -> int:
    """A Kubernetes quantity such as 16Gi [bytes]."""
    number = text.rstrip("MGTi")
    return int(number) * _UNITS[text[len(number) :]]


def gpus(fields: str) -> list[list[str]]:
    """Properties of each NVIDIA GPU; empty without a driver.

    Args:
        fields: for `nvidia-smi --query-gpu`, separated by commas.

    Raises:
        MachineError: nvidia-smi fails.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise MachineError(f"nvidia-smi fails: {error}") from None
    rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines()]
    # Other lines are messages, e.g. "No devices were found".
    return [row for row in rows if len(row) == fields.count(",") + 1]


def seconds(variable: str, *, default: float, positive: bool = False) -> float:
    """A time from the environment [s].

    Args:
        positive: refuse 0.

    Raises:
        UsageError: the variable is not a number of seconds.
    """
    text = os.environ.get(variable) or str(default)
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf") or (positive and found == 0):
        raise UsageError(f"{variable}: expected seconds {'>' if positive else '≥'} 0, got '{text}'")
    return found


def _first_line(names: Sequence[str]) -> str:
    for name in names:
        try:
            return (_CGROUP / name).read_text().strip()
        except OSError:
            continue
    return ""
