"""What a GPU does with the shipped scenes: the CPU's numbers, isolation, memory, and the time per galaxy.

    python benchmarks/gpu.py [--quick] [--budget 480] [-o DIRECTORY]

It needs the repository, JAX with its CUDA plugin, what `make gpu-wheels` fetches, and no network. `--quick` is the
reduced form, which runs to its end on a CPU, too. Writes gpu.json and gpu.md; exits with 1 if a check fails.

The budget [s] is kept: what is worth most comes first, lanes for a given time, each width alone on the device; then the
agreement of all scenes, several processes at once. What was not reached is named, and fails nothing.

Agreement: the same realizations, seeds and lane width on the device and on the CPU. Both draw with the same keys, but a
chain amplifies rounding, so that means are compared with the error of two independent ones: their difference must be
below 5 σ √(2 / ESS) with the ESS that the method reports, or below .001 σ (float64) or .05 σ (float32) where nothing is
drawn; σ is the width of the posterior. Isolation: a realization alone and beside others has the same bits. Kernels per
leapfrog are counted in the program that was compiled for the device, see kernels.py.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# In the order of their worth.
METHODS = ("map", "importance", "hmc", "nuts", "laplace", "vi")
SCENES = ("level1", "snr100-nuts", "calibration", "level0", "control-psf")
WIDTHS = (1024, 64, 4096, 256)
PRECISIONS = ("float32", "float64")
# The noise that float32 can carry, for a scene that has less.
_VISIBLE = {"level0": {"config.image.noise.sigma": 1e-3}}
_LANES = {"config.inference.hmc_config": "{samples: 100, chains: 2}"}
_SIGMAS = 5.0
_TOLERANCE = {"float64": 1e-3, "float32": 0.05}
# Guesses, for planning: what a width is expected to take, and what the agreement of all scenes gets at least [s].
_EXPECTED_S, _AGREEMENT_S, _WRITING_S = 45.0, 200.0, 5.0


@dataclass
class Budget:
    """Time in all [s], from the moment of its making."""

    total: float
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        return self.total - _WRITING_S - (time.monotonic() - self.began)


def elsewhere(asked: Sequence[Mapping[str, Any]], timeout: float, **environment: str) -> list[dict[str, Any]]:
    """Cases in a process of their own; of one that fails, the last lines of its errors; fewer if time is up.

    Args:
        environment: variables in addition; JAX_PLATFORMS is that of this process only if given.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    path = os.pathsep.join([str(ROOT / "src"), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
    command = [sys.executable, __file__, "--cases", json.dumps(asked)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            done = subprocess.run(
                command,
                stdout=out,
                stderr=err,
                text=True,
                env=inherited | {"PYTHONPATH": path} | environment,
                check=False,
                timeout=max(0.0, timeout),
            )
        except subprocess.TimeoutExpired:
            done = None
        out.seek(0)
        found: list[dict[str, Any]] = [json.loads(line) for line in out if line.startswith('{"case": ')]
        if done is not None and done.returncode:
            err.seek(0)
            found.append({"failed": err.read().strip().splitlines()[-3:]})
    return found


def differences(one: dict[str, Any], other: dict[str, Any], precision: str) -> list[str]:
    """What differs more than it may between two devices."""
    if failed := [side["failed"] for side in (one, other) if "failed" in side]:
        return [str(failed)]
    wrong = [] if one["isolated"] and other["isolated"] else ["a realization beside others has other bits than alone"]
    if one["status"] != other["status"]:
        wrong.append(f"statuses {one['status']} and {other['status']}")
    if empty := [place for place, means in enumerate(one["mean"]) if not means]:
        wrong.append(f"nothing was inferred from realizations {empty}: {one['status']}")
    for place, means in enumerate(one["mean"]):
        for name, mean in means.items():
            sigma, ess = one["width"][place][name], one["ess"][place].get(name)
            limit = _SIGMAS * math.sqrt(2 / ess) if ess else _TOLERANCE[precision]
            off = abs(mean - other["mean"][place].get(name, math.inf)) / sigma if sigma else 0.0
            if off > limit:
                wrong.append(f"{name} of realization {place} differs by {off:.2g} σ, {limit:.2g} allowed")
    return wrong


def agreement(scenes: Sequence[str], methods: Sequence[str], n: int, budget: Budget) -> list[dict[str, Any]]:
    """Every method on every scene in both precisions, on the device and on the CPU: `wrong`, or None: not reached.

    A process computes all methods of a scene in one precision, so that it starts and draws once.
    """
    groups = [(scene, precision) for scene in scenes for precision in PRECISIONS]
    at_once = min(len(groups), max(1, (os.cpu_count() or 2) // 2))

    def compare(group: tuple[str, str]) -> list[dict[str, Any]]:
        scene, precision = group
        # Nothing can be ranked among the draws of `map`: a calibration refuses it.
        asked = [
            {"scene": scene, "method": method, "precision": precision, "n": n, "settings": _VISIBLE.get(scene, {})}
            for method in methods
            if (scene, method) != ("calibration", "map")
        ]
        memory = {"XLA_CLIENT_MEM_FRACTION": f"{0.8 / at_once:.3f}"}
        with ThreadPoolExecutor(2) as both:
            sides = [
                both.submit(elsewhere, asked, budget.left, **environment)
                for environment in (memory, {"JAX_PLATFORMS": "cpu"})
            ]
            here, cpu = (side.result() for side in sides)
        found = []
        for at, case in enumerate(asked):
            reached = at < min(len(here), len(cpu))
            wrong = differences(here[at], cpu[at], precision) if reached else None
            device = here[at].get("device") if reached else None
            found.append({**case, "device": device, "wrong": wrong})
            told = "not reached" if wrong is None else "; ".join(wrong) or "equal within tolerance, isolated"
            print(f"{scene} {case['method']} {precision}: {told}", flush=True)
        return found

    with ThreadPoolExecutor(at_once) as several:
        return [case for group in several.map(compare, groups) for case in group]


def lanes(width: int, timeout: float, **environment: str) -> dict[str, Any]:
    """One width alone on the device, with times; `not_reached` if time was up."""
    asked = {"scene": "level1", "method": "hmc", "precision": "float32", "n": width, "settings": _LANES, "timed": True}
    found = elsewhere([asked], timeout, **environment)
    return {"lanes": width, **(found[0] if found else {"not_reached": True})}


def halving(whole: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Run out of the device's memory on purpose: the chunk must end with fewer lanes in flight.

    Args:
        whole: a width with all of the memory. A third of what it was predicted to need is all that JAX gets now.
    """
    if not whole.get("limit_bytes"):
        return {"skipped": "the lanes failed, or the device shares the host's memory, which must not be exhausted"}
    share = whole["predicted_bytes"] / 3 / whole["limit_bytes"]
    found = lanes(whole["lanes"], timeout, XLA_CLIENT_MEM_FRACTION=f"{share:.4f}")
    if "widths_used" in found and min(found["widths_used"]) >= whole["lanes"]:
        found["failed"] = [f"all lanes ran in a third of the predicted {whole['predicted_bytes']} bytes"]
    return {"share": share, **found}


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a GPU with the shipped scenes.")
    parser.add_argument("--quick", action="store_true", help="few methods, scenes and widths; runs on a CPU, too")
    parser.add_argument("--budget", type=float, default=480.0, help="time in all [s]")
    parser.add_argument("-o", "--output", type=Path, default=Path("results/gpu"))
    parser.add_argument("--cases", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cases is not None:
        import gpu_case

        for asked in options.cases:
            print(json.dumps({"case": asked} | gpu_case.case(**asked)), flush=True)
        return 0
    budget = Budget(options.budget)
    methods, scenes = (("map", "importance"), ("level0",)) if options.quick else (METHODS, SCENES)
    n, widths = (2, (8, 4)) if options.quick else (8, WIDTHS)
    measured: list[dict[str, Any]] = []
    for width in widths:
        left = budget.left - _AGREEMENT_S
        measured.append(lanes(width, left) if left > _EXPECTED_S else {"lanes": width, "not_reached": True})
        print(f"{width} lanes: {row(measured[-1])}", flush=True)
    halved: dict[str, Any] = {"not_reached": True}
    if (left := budget.left - _AGREEMENT_S) > _EXPECTED_S:
        halved = halving(max(measured, key=lambda one: (one.get("predicted_bytes") or 0, one["lanes"])), left)
    print(f"memory halving: {halved.get('skipped') or halved}", flush=True)
    compared = agreement(scenes, methods, n, budget)
    report = {"lanes": sorted(measured, key=lambda one: one["lanes"]), "halving": halved, "agreement": compared}
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.output / "gpu.md").write_text(table(report))
    print(f"written: {options.output}/gpu.json, gpu.md")
    return int(any(one["wrong"] for one in compared) or any("failed" in one for one in [*measured, halved]))


def row(one: dict[str, Any]) -> str:
    """One width for the table."""
    if "failed" in one:
        return f"failed: {one['failed']}"
    if "not_reached" in one:
        return "not reached"
    sizes = " / ".join("–" if b is None else f"{b / 2**20:.0f}" for b in (one["predicted_bytes"], one["peak_bytes"]))
    times = f"{one['compile_s']:.1f} | {one['gradient_us']:.2f} | {one['ms_per_galaxy']:.2f}"
    return f"{one['device']} | {times} | {one['effective_per_s']:.0f} | {one['kernels_per_leapfrog']} | {sizes}"


def table(report: dict[str, Any]) -> str:
    """The report for docs/performance.md."""
    columns = ("lanes", "device", "compile [s]", "value + gradient per galaxy [µs]", "hmc per galaxy [ms]")
    columns += ("effective draws / s", "kernels per leapfrog", "predicted / peak [MiB]")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {one['lanes']} | {row(one)} |" for one in report["lanes"]]
    cases = report["agreement"]
    names = {
        told: [f"{one['scene']} {one['method']} {one['precision']}" for one in cases if outcome(one) == told]
        for told in ("equal", "different", "not reached")
    }
    lines += ["", f"Agreement with the CPU: {len(names['equal'])} of {len(cases)} cases are equal within tolerance."]
    lines += [f"{told.capitalize()}: {', '.join(of)}." for told, of in names.items() if of and told != "equal"]
    halved = report["halving"]
    widths = f"ended with widths {halved['widths_used']}" if "widths_used" in halved else "not reached"
    lines += ["", f"A third of the predicted memory: {halved.get('skipped') or halved.get('failed') or widths}."]
    return "\n".join(lines) + "\n"


def outcome(one: dict[str, Any]) -> str:
    """A case of the agreement in a word or two."""
    return "not reached" if one["wrong"] is None else "different" if one["wrong"] else "equal"


if __name__ == "__main__":
    sys.exit(main())
