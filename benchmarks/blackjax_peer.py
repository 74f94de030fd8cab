"""NUTS and multi-path Pathfinder of blackjax on lanewise's own density, in compare.py.

    python blackjax_peer.py CONFIG IMAGES.npy

It runs in an environment with lanewise and blackjax 1.7. Both are vmapped over galaxies in one compiled program, in the
campaign's precision, from the start of lanewise's search (no mode is given to them). NUTS: window adaptation of 500
steps with blackjax's defaults, then 1000 draws of one chain. Pathfinder: 4 paths from around the start, 500 draws of
each, pooled with Pareto-smoothed weights; at most 20 steps of a line search, because with its default of 1000 sixteen
galaxies side by side did not end within two minutes. One line of JSON; times are those of compiled programs.
"""

import json
import sys
import time

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import yaml
from blackjax.vi import multipathfinder

from lanewise.families.shear import config as shear_config
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.machine import device

# Standard deviation of the starts of the paths [unconstrained unit of each latent].
SPREAD = 0.1


def main(config_path, images_path):
    """Print the answer."""
    with open(config_path) as file:
        config = shear_config.parse(yaml.safe_load(file))
    device.prepare("auto", config.inference.precision)
    problem = ShearProblem(config)
    g1 = problem.names.index("g1")
    prepared = [problem.prepare({"image": image}) for image in np.load(images_path)]
    dtype = config.inference.precision
    data = {name: jnp.asarray(np.stack([one[name] for one in prepared]), dtype) for name in prepared[0]}

    def nuts(key, one):
        def density(u):
            return problem.log_density(u, one)

        key_warm, key_draw = jax.random.split(key)
        (state, found), _ = blackjax.window_adaptation(blackjax.nuts, density).run(key_warm, problem.start(one), 500)
        step = blackjax.nuts(density, **found).step

        def draw(state, key):
            state, _ = step(key, state)
            return state, problem.constrain(state.position)[g1]

        return jax.lax.scan(draw, state, jax.random.split(key_draw, 1000))[1], jnp.zeros(1000, dtype), 0.0

    def pathfinder(key, one):
        start = problem.start(one)
        starts = start + SPREAD * jax.random.normal(key, (4, len(start)), dtype)
        state, _ = multipathfinder.multi_approximate(
            key, lambda u: problem.log_density(u, one), starts, num_samples=500, maxls=20
        )
        log_weights, khat = multipathfinder.psis_weights(state)
        draws = jax.vmap(problem.constrain)(state.samples.reshape(-1, len(start)))[:, g1]
        return draws, log_weights, khat

    answer = {"versions": f"blackjax {blackjax.__version__}, jax {jax.__version__}"}
    keys = jax.random.split(jax.random.key(0), len(prepared))
    for method in (nuts, pathfinder):
        began = time.perf_counter()
        run = jax.jit(jax.vmap(method)).lower(keys, data).compile()
        compiled = time.perf_counter() - began
        began = time.perf_counter()
        draws, log_weights, khat = (np.asarray(one) for one in jax.block_until_ready(run(keys, data)))
        answer[method.__name__] = {
            "compile_s": compiled,
            "seconds": time.perf_counter() - began,
            "draws": draws.tolist(),
            "log_weights": log_weights.tolist(),
            "khat": khat.tolist(),
        }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
