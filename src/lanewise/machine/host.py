"""Cores and memory that this process may use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
# Group of control files by generation: version 2 has one tree, version 1 one per controller.
_CGROUP_MEMORY = ("memory.max", "memory/memory.limit_in_bytes")
_CGROUP_QUOTA = ("cpu.max", "cpu/cpu.cfs_quota_us")
_UNITS = {"Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "M": 10**6, "G": 10**9, "T": 10**12}


def n_cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its container."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _first_line(_CGROUP_QUOTA).split()
    period = quota[1:] or _first_line(("cpu/cpu.cfs_period_us",)).split()
    if quota and period and quota[0].isdecimal() and period[0].isdecimal():
        return max(1, min(affinity, round(int(quota[0]) / int(period[0]))))
    return affinity


def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or the limit of its container."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _first_line(_CGROUP_MEMORY)
    return min(total, int(limit)) if limit.isdecimal() else total


def quantity_bytes(text: str) -> int:
    """Bytes of a Kubernetes quantity as the manifest has it, such as 16Gi."""
    number = text.rstrip("MGTi")
    return int(number) * _UNITS[text[len(number) :]]


def _first_line(names: Sequence[str]) -> str:
    for name in names:
        try:
            return (_CGROUP / name).read_text().strip()
        except OSError:
            continue
    return ""
