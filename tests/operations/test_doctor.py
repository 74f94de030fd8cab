"""What this machine has: cgroup limits, the device a manifest asks for, and the rights on its storage."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import S3, Write, load
from lanewise.machine import host
from lanewise.operations import doctor
from lanewise.operations.doctor import Finding, Grade


def _by_topic(found: list[Finding]) -> dict[str, Finding]:
    return {one.topic: one for one in found}


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({"cpu.max": "150000 100000", "memory.max": "1073741824"}, 2, 2**30),
        ({"cpu.max": "50000 100000", "memory.max": "max"}, 1, None),
        ({"cpu.max": "max 100000"}, None, None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "memory/memory.limit_in_bytes": "9223372036854771712"}, None, None),
    ],
)
def test_a_container_has_what_its_group_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int | None, memory: int | None
) -> None:
    monkeypatch.setattr(host, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(os, "sysconf", lambda name: 2**20 if name == "SC_PHYS_PAGES" else 2**14)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert (host.n_cores(), host.memory_bytes()) == (cores or 8, memory or 2**34)


def test_a_healthy_machine_has_no_fault_and_looking_leaves_nothing_behind(write: Write, tmp_path: Path) -> None:
    found = doctor.examine(load(write(resources={"cpus": 1, "memory": "1Mi"})).manifest)
    assert {one.topic for one in found} >= {"device", "driver", "cores", "memory", "compiled programs", "output.url"}
    assert [one for one in found if one.grade is Grade.FAULT] == []
    assert not (tmp_path / "results").exists()


def test_a_missing_device_and_scarce_cores_and_memory_are_told(write: Write) -> None:
    asked = {"device": "gpu", "cpus": 10_000, "memory": "100Ti"}
    found = _by_topic(doctor.examine(load(write(resources=asked)).manifest))
    assert (found["resources.device"].grade, found["resources.device"].exit_code) == (Grade.FAULT, 78)
    assert "10000 requested" in found["resources.cpus"].text
    assert "lower batch.size" in found["resources.memory"].text


def test_storage_that_cannot_be_written_is_a_fault(write: Write, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = _by_topic(doctor.examine(load(write(url=str(tmp_path / "file"))).manifest))
    assert (found["output.url"].grade, found["output.url"].exit_code) == (Grade.FAULT, 74)


@pytest.mark.long
@pytest.mark.parametrize(("careless", "grade"), [(False, Grade.FINE), (True, Grade.NOTE)])
def test_a_bucket_is_tried_for_conditional_writes(
    servers: Callable[[bool], S3], use_s3: Callable[[S3], None], write: Write, careless: bool, grade: Grade
) -> None:
    use_s3(servers(careless))
    found = _by_topic(doctor.examine(load(write(url="s3://bucket/doctor")).manifest))
    assert (found["output.url"].grade, found["conditional writes"].grade) == (Grade.FINE, grade)


def test_a_gpu_that_jax_does_not_see_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "NVIDIA H100 80GB HBM3, 550.54, 81559 MiB\n"
    monkeypatch.setattr(shutil, "which", lambda _: "nvidia-smi")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, stdout=said))
    device = _by_topic(doctor.examine())["device"]
    assert (device.grade, "driver 550.54" in device.text, "lanewise[cuda12]" in device.text) == (Grade.NOTE, True, True)
