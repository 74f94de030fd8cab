"""Kernels and memory of the samplers' programs on a GPU, from XLA's own compiler for it; on a machine without one.

    make gpu-programs

XLA compiles for an H100 by its description, without the device. A round of every method whose steps need no library of
NVIDIA's linear algebra is compiled, with lanes side by side, in float32, and what the compiler made of it is counted:
launches per leapfrog step (`hmc`, `nuts`) or per step of the optimiser (`vi`), of the innermost loop that takes a
gradient; per round of 200 draws (`importance`), which has no loop; and the memory of a lane. Nothing is run. The search
of the mode is not compiled: its solvers need libraries that only come with the CUDA build of JAX.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

# A description of the device in XLA's own form (stream_executor/device_description.proto), as its specifications say.
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 device_memory_size: 84942979072
  cuda_compute_capability { major: 9 minor: 0 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
METHODS = ("importance", "hmc", "nuts", "vi")
LANES = 1024


def prepare(packages: Path) -> None:
    """Let JAX find the compiler; must run before JAX is imported.

    Args:
        packages: where pip has put jax-cuda12-pjrt and nvidia-cuda-nvcc-cu12.

    Raises:
        SystemExit: they are not there.
    """
    plugin = packages / "jax_plugins" / "xla_cuda12" / "xla_cuda_plugin.so"
    if not plugin.exists():
        raise SystemExit(f"{plugin}: not found; `make gpu-programs` installs it")
    os.environ["PJRT_NAMES_AND_LIBRARY_PATHS"] = f"cuda:{plugin}"
    os.environ["XLA_FLAGS"] = f"--xla_gpu_cuda_data_dir={packages / 'nvidia' / 'cuda_nvcc'}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def scenes() -> dict[str, dict[str, Any]]:
    """Configs of the forms that the likelihood has: modes, the drawn image, and weights; with a dear profile, too."""
    normal = {"type": "Normal", "mean": 0.0, "sigma": 0.2}
    size = {"type": "LogNormal", "mean": 0.5, "sigma": 0.1}
    stamp = {"pixel_scale": 0.263, "size_x": 48, "size_y": 48, "noise": {"sigma": 1.2e-3}}
    base: dict[str, Any] = {
        "image": stamp,
        "psf": {"type": "Gaussian", "sigma": 0.382},
        "gal": {
            "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
            "half_light_radius": size,
            "shear": {"g1": normal, "g2": normal},
        },
    }
    moffat = {"type": "Moffat", "sigma": 0.9, "beta": 2.5}
    sersic = {"type": "Sersic", "n": {"type": "Uniform", "min": 1, "max": 4}}
    return {
        "modes of the stamp": base,
        "Sersic galaxy": {**base, "gal": {**base["gal"], **sersic}},
        "Moffat PSF, strict grid": {**base, "psf": moffat, "image": {**stamp, "accuracy": "strict"}},
        "variances per pixel": {**base, "image": {**stamp, "noise": {"type": "PerPixel", "sigma": 1.2e-3}}},
    }


def measure(lanes: int) -> dict[str, dict[str, dict[str, int]]]:
    """Scene → method → launches and bytes per lane, of one round."""
    import jax
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import SingleDeviceSharding
    from kernels import Program

    from lanewise import methods
    from lanewise.engine import programs
    from lanewise.families.shear import config as shear_config
    from lanewise.families.shear.model.problem import ShearProblem
    from lanewise.machine import device

    device.prepare("cpu", "float32")
    described = topologies.get_topology_desc(platform="cuda", topology_name="", target_config=H100, topology="1x1x1")
    there = SingleDeviceSharding(described.devices[0])

    def on_gpu(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=there), tree)

    found: dict[str, dict[str, dict[str, int]]] = {}
    for name, scene in scenes().items():
        for method in METHODS:
            config = shear_config.parse({**scene, "inference": {"method": method, "precision": "float32"}})
            problem = ShearProblem(config)
            built = methods.build(method, config.inference.settings, sequential=False)
            program = programs.build(built, problem, sequential=False)
            image = np.zeros((config.image.size_y, config.image.size_x))
            one = problem.prepare({"image": image, "weight": image + 1})
            data = {key: jax.ShapeDtypeStruct((lanes, *value.shape), "float32") for key, value in one.items()}
            keys = jax.ShapeDtypeStruct((lanes,), jax.random.key(0).dtype)
            state = jax.eval_shape(program.init.jitted, keys, data, jax.ShapeDtypeStruct((lanes,), bool))
            compiled = program.advance.jitted.lower(*on_gpu((state, data))).compile()
            counted, memory = Program(compiled.as_text()), compiled.memory_analysis()
            used = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
            found.setdefault(name, {})[method] = {
                "kernels": counted.per_gradient() if counted.loops else counted.kernels,
                "bytes": used // lanes,
            }
    return found


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True, help="where the compiler is installed")
    parser.add_argument("--lanes", type=int, default=LANES, help="lanes side by side")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    prepare(options.packages.resolve())
    found = measure(options.lanes)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{options.lanes} lanes; launches per step (importance: per 200 draws), KiB per lane")
    print(f"{'':26}" + "".join(f"{method:>18}" for method in METHODS))
    for name, by_method in found.items():
        cells = (f"{one['kernels']:>8}{one['bytes'] / 1024:>10.0f}" for one in by_method.values())
        print(f"{name:26}" + "".join(cells))


if __name__ == "__main__":
    main()
