"""What a GPU does with the shipped scenes: the CPU's numbers, isolation, memory, and the time per galaxy.

    python benchmarks/gpu.py [--quick] [-o DIRECTORY]

Every case is a process of its own. It needs the repository, JAX with its CUDA plugin, and no network. `--quick` is the
reduced form, which runs to its end on a CPU, too. Writes gpu.json and gpu.md; exits with 1 if a check fails.

Agreement: the same realizations, seeds and lane width on the device and on the CPU. Both draw with the same keys, but a
chain amplifies rounding, so that means are compared with the error of two independent ones: their difference must be
below 5 σ √(2 / ESS) with the ESS that the method reports, or below .001 σ (float64) or .05 σ (float32) where nothing is
drawn; σ is the width of the posterior. Isolation: a realization alone and beside others has the same bits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
METHODS = ("map", "laplace", "vi", "importance", "hmc", "nuts")
SCENES = ("level0", "level1", "snr100-nuts", "calibration", "control-psf")
WIDTHS = (64, 256, 1024, 4096)
_SIGMAS = 5.0
_TOLERANCE = {"float64": 1e-3, "float32": 0.05}


def case(scene: str, method: str, precision: str, width: int, n: int) -> dict[str, Any]:
    """Compute n realizations of a shipped scene in this process: results, bits, times and memory."""
    import jax
    import numpy as np

    from lanewise import api
    from lanewise.engine.engine import Engine
    from lanewise.manifest.plan import Chunk

    settings = {
        "config.inference.method": method,
        "config.inference.precision": precision,
        "config.image.noise.sigma": "0.001",
        "realizations.count": str(n),
        "batch.size": str(n),
        "batch.width": str(width),
        "output.url": tempfile.mkdtemp(),
    }
    campaign = api.load(
        str(ROOT / "manifests" / f"{scene}.yaml"), [f"{key}={value}" for key, value in settings.items()]
    )
    engine, chunk = Engine(campaign.manifest, campaign.plan), campaign.plan.chunks[0]
    began = time.perf_counter()
    results = engine.run(chunk)
    first = time.perf_counter() - began
    began = time.perf_counter()
    engine.run(chunk)
    again = time.perf_counter() - began
    (alone,) = engine.run(Chunk(0, chunk.realizations[-1:]))

    def bits(result: Any) -> str:
        return hashlib.sha256(b"".join(result.posterior[k].tobytes() for k in sorted(result.posterior))).hexdigest()

    footprint = engine.footprint(chunk)
    memory = jax.devices()[0].memory_stats() or {}
    return {
        "device": str(jax.devices()[0].device_kind),
        "status": [result.status.word for result in results],
        "mean": [{k: float(np.mean(v)) for k, v in r.posterior.items()} for r in results],
        "width": [{k: r.width(k) for k in r.posterior} for r in results],
        "ess": [{k: r.diagnostics.ess.get(k) for k in r.posterior} for r in results],
        "isolated": bits(alone) == bits(results[-1]),
        "effective_per_s": _effective(results) / again,
        "compile_s": max(0.0, first - again),
        "ms_per_galaxy": 1e3 * again / n,
        "predicted_bytes": footprint and footprint[0],
        "peak_bytes": memory.get("peak_bytes_in_use"),
        "limit_bytes": memory.get("bytes_limit"),
        "widths_used": engine.made["width"]["used"],
    }


def _effective(results: Any) -> float:
    """Effective draws of all realizations, each by its worst parameter; 0 where nothing is drawn."""
    return float(sum(min((ess for ess in r.diagnostics.ess.values() if ess), default=0.0) for r in results))


def halving(whole: dict[str, Any], **asked: Any) -> dict[str, Any]:
    """Run out of the device's memory on purpose: the chunk must end with fewer lanes in flight.

    Args:
        whole: the same case with all of the memory. A third of what it was predicted to need is all that JAX gets now.
    """
    if "failed" in whole or not whole["limit_bytes"]:
        return {"skipped": "the lanes failed, or the device shares the host's memory, which must not be exhausted"}
    share = whole["predicted_bytes"] / 3 / whole["limit_bytes"]
    found = elsewhere("", {"XLA_CLIENT_MEM_FRACTION": f"{share:.4f}"}, **asked)
    if "failed" not in found and min(found["widths_used"]) >= asked["width"]:
        found["failed"] = [f"all lanes ran in a third of the predicted {whole['predicted_bytes']} bytes"]
    return {"share": share, **found}


def elsewhere(platforms: str, extra: Mapping[str, str] | None = None, **asked: Any) -> dict[str, Any]:
    """A case in a process of its own; of one that fails, the last lines of its errors.

    Args:
        platforms: JAX_PLATFORMS; empty: as it is.
        extra: further variables of the environment.
    """
    environment = {
        **os.environ,
        **(extra or {}),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *filter(None, sys.path)]),
    }
    if platforms:
        environment["JAX_PLATFORMS"] = platforms
    command = [sys.executable, __file__, "--case", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-3:]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def differences(one: dict[str, Any], other: dict[str, Any], precision: str) -> list[str]:
    """What differs more than it may between two devices."""
    if failed := [side["failed"] for side in (one, other) if "failed" in side]:
        return [str(failed)]
    wrong = [] if one["isolated"] and other["isolated"] else ["a realization beside others has other bits than alone"]
    if one["status"] != other["status"]:
        wrong.append(f"statuses {one['status']} and {other['status']}")
    for place, means in enumerate(one["mean"]):
        for name, mean in means.items():
            sigma, ess = one["width"][place][name], one["ess"][place].get(name)
            limit = _SIGMAS * math.sqrt(2 / ess) if ess else _TOLERANCE[precision]
            off = abs(mean - other["mean"][place].get(name, math.inf)) / sigma if sigma else 0.0
            if off > limit:
                wrong.append(f"{name} of realization {place} differs by {off:.2g} σ, {limit:.2g} allowed")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a GPU with the shipped scenes.")
    parser.add_argument("--quick", action="store_true", help="few methods, scenes and widths; runs on a CPU, too")
    parser.add_argument("-o", "--output", type=Path, default=Path("results/gpu"))
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(case(**options.case)))
        return 0
    methods, scenes = (("map", "importance"), ("level0",)) if options.quick else (METHODS, SCENES)
    n, widths = (2, (4, 8)) if options.quick else (8, WIDTHS)
    report: dict[str, Any] = {"agreement": [], "lanes": []}
    for scene in scenes:
        # Nothing can be ranked among the draws of `map`: a calibration refuses it.
        for method in [one for one in methods if (scene, one) != ("calibration", "map")]:
            for precision in _TOLERANCE:
                asked = {"scene": scene, "method": method, "precision": precision, "width": n, "n": n}
                with ThreadPoolExecutor(2) as both:
                    here, cpu = both.map(partial(elsewhere, **asked), ("", "cpu"))
                wrong = differences(here, cpu, precision)
                report["agreement"].append({**asked, "device": here.get("device"), "wrong": wrong})
                print(
                    f"{scene} {method} {precision}: {'; '.join(wrong) or 'equal within tolerance, isolated'}",
                    flush=True,
                )
    for width in widths:
        asked = {"scene": "level1", "method": methods[-1], "precision": "float32", "width": width, "n": width}
        report["lanes"].append({"lanes": width, **elsewhere("", **asked)})
        print(f"{width} lanes: {row(report['lanes'][-1])}", flush=True)
    report["halving"] = halving(report["lanes"][-1], **asked)
    print(f"memory halving: {report['halving'].get('skipped') or report['halving']}", flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
    columns = ("lanes", "device", "compile [s]", "per galaxy [ms]", "effective draws / s", "predicted / peak [MiB]")
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    (options.output / "gpu.md").write_text(
        head + "".join(f"| {one['lanes']} | {row(one)} |\n" for one in report["lanes"])
    )
    print(f"written: {options.output}/gpu.json, gpu.md")
    return int(
        any(one["wrong"] for one in report["agreement"])
        or any("failed" in one for one in [*report["lanes"], report["halving"]])
    )


def row(one: dict[str, Any]) -> str:
    """One case of lanes for the table."""
    if "failed" in one:
        return f"failed: {one['failed']}"
    sizes = " / ".join("–" if b is None else f"{b / 2**20:.0f}" for b in (one["predicted_bytes"], one["peak_bytes"]))
    times = f"{one['compile_s']:.1f} | {one['ms_per_galaxy']:.2f} | {one['effective_per_s']:.0f}"
    return f"{one['device']} | {times} | {sizes}"


if __name__ == "__main__":
    sys.exit(main())
