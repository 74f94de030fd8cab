"""The recipe of LSSTDESC/BPD for one galaxy, in compare.py. It runs in an environment with blackjax and JAX-GalSim.

    python bpd.py IMAGES.npy

Images have 63 × 63 pixels of .2″ and noise of σ 1; an Exponential seen through a Gaussian of FWHM .8″. As published
(arXiv:2604.22048): model images by an FFT of 256 points of JAX-GalSim in float64; NUTS of blackjax with window
adaptation of 500 steps, a diagonal mass matrix, target acceptance .8 and at most 5 doublings; 300 draws of one chain
per galaxy, vmapped over galaxies; started near the truth. Latents: g1, g2 of a round galaxy, log10 flux, log10
half-light radius, and the centre. One line of JSON: seconds per galaxy and 300 effective draws of g1, with the
adaptation, without compilation.
"""

import json
import os
import sys
import time

os.environ.setdefault("EQX_ON_ERROR", "nan")

import blackjax
import jax
import jax.numpy as jnp
import jax_galsim as galsim
import numpy as np

jax.config.update("jax_enable_x64", True)
SETTINGS = galsim.GSParams(minimum_fft_size=256, maximum_fft_size=256)
# The truth is g1 = .02; the start is beside it.
START = {"g1": 0.01, "g2": 0.01, "lf": 3.0, "lhlr": float(np.log10(0.5)), "dx": 0.01, "dy": 0.01}


def log_density(p, image):
    """Log posterior density up to a constant."""
    galaxy = galsim.Exponential(flux=10 ** p["lf"], half_light_radius=10 ** p["lhlr"], gsparams=SETTINGS)
    seen = galsim.Convolve(
        [galaxy.shear(g1=p["g1"], g2=p["g2"]), galsim.Gaussian(fwhm=0.8, gsparams=SETTINGS)], gsparams=SETTINGS
    )
    drawn = seen.drawImage(nx=63, ny=63, scale=0.2, offset=galsim.PositionD(p["dx"], p["dy"]), dtype=jnp.float64)
    g2 = p["g1"] ** 2 + p["g2"] ** 2
    prior = -g2 / (2 * 0.3**2) - (p["dx"] ** 2 + p["dy"] ** 2) / (2 * 0.5**2)
    inside = (g2 < 1) & (p["lf"] > -3) & (p["lf"] < 9) & (p["lhlr"] > np.log10(0.025)) & (p["lhlr"] < 1)
    return jnp.where(inside, prior - 0.5 * jnp.sum((image - drawn.array) ** 2), -jnp.inf)


def chain(key, image):
    """300 draws of g1, after adaptation."""

    def density(p):
        return log_density(p, image)

    key_warm, key_draw = jax.random.split(key)
    warm = blackjax.window_adaptation(blackjax.nuts, density, target_acceptance_rate=0.8, max_num_doublings=5)
    (state, found), _ = warm.run(key_warm, {name: jnp.asarray(value) for name, value in START.items()}, num_steps=500)
    step = blackjax.nuts(density, **found).step

    def one(state, key):
        state, _ = step(key, state)
        return state, state.position["g1"]

    return jax.lax.scan(one, state, jax.random.split(key_draw, 300))[1]


def main(path):
    """Print the answer."""
    images = jnp.asarray(np.load(path), jnp.float64)
    keys = jax.random.split(jax.random.key(0), len(images))
    began = time.perf_counter()
    run = jax.jit(jax.vmap(chain)).lower(keys, images).compile()
    compiling = time.perf_counter() - began
    began = time.perf_counter()
    draws = np.asarray(jax.block_until_ready(run(keys, images)))
    seconds = time.perf_counter() - began
    size = sum(float(blackjax.diagnostics.effective_sample_size(one[None, :])) for one in draws)
    answer = {
        "seconds_per_300": 300 * seconds / size,
        "compile_s": compiling,
        "g1": [[float(one.mean()), float(one.std())] for one in draws],
        "versions": f"blackjax {blackjax.__version__}, jax {jax.__version__}, jax_galsim {galsim.__version__}",
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
