"""A program for the environment of shine-wl 0.0.3: `python ancestor.py CONFIG IMAGE.npy DRAWS.npz WARMUP SAMPLES`.

Its own model of one image, sampled by NumPyro's NUTS without its inference or ours.
"""

import os
import sys

# Without it, "Requested shear exceeds 1." ends the run where a trajectory strays.
os.environ["EQX_ON_ERROR"] = "nan"

import jax
import jax_galsim
import numpy as np
import numpyro
from shine import psf_utils  # type: ignore[import-not-found]  # stands in its own environment alone
from shine.config import ConfigHandler  # type: ignore[import-not-found]
from shine.scene import SceneBuilder  # type: ignore[import-not-found]


def main(config_path: str, image_path: str, draws_path: str, warmup: str, samples: str) -> None:
    """Sample, and write the draws by name, shape (chain, draw)."""
    numpyro.enable_x64()
    config = ConfigHandler.load(config_path)
    image = np.load(image_path)
    size = config.image.fft_size
    precise = jax_galsim.GSParams(maximum_fft_size=size, minimum_fft_size=size)
    middle = {"g1": 0.0, "g2": 0.0, "flux": [1.0], "hlr": [0.5], "x": [24.0], "y": [24.0]}
    start = {name: np.asarray(value, float) for name, value in middle.items()}
    kernel = numpyro.infer.NUTS(
        SceneBuilder(config).build_model(), init_strategy=numpyro.infer.init_to_value(values=start)
    )
    mcmc = numpyro.infer.MCMC(
        kernel,
        num_warmup=int(warmup),
        num_samples=int(samples),
        num_chains=2,
        chain_method="sequential",
        progress_bar=False,
    )
    mcmc.run(jax.random.key(1), observed_data=image, psf=psf_utils.get_jax_psf(config.psf, gsparams=precise))
    found = mcmc.get_samples(group_by_chain=True)
    draws = {name: np.asarray(value).reshape(2, -1) for name, value in found.items()}
    np.savez(draws_path, **draws)  # type: ignore[arg-type]  # NumPy's types take any name for allow_pickle


if __name__ == "__main__":
    main(*sys.argv[1:])
