"""The side of the ancestor, shine-wl 0.0.3, in compare.py. It runs in an environment with that package.

    python ancestor.py CONFIG IMAGES.npy

It uses the ancestor's own batched model, inference and settings. It reads commands as lines of JSON and answers each
with one line: `map` fits and warms up, `sample` continues from there. It needs EQX_ON_ERROR=nan in the environment,
because a trajectory with |g| > 1 would end the process. It needs the MAP start, because NUTS would otherwise start at
|g| > 1.
"""

import json
import os
import sys
import time

import jax
import jax_galsim
import numpy as np
import numpyro
import shine
from numpyro.infer import NUTS, SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoDelta
from shine import psf_utils
from shine.config import ConfigHandler
from shine.scene import SceneBuilder


class Ancestor:
    """One batch, processed as by shine's command line, in steps that can be timed."""

    def __init__(self, config_path, images):
        self.config = ConfigHandler.load(config_path)
        size = self.config.image.fft_size
        precise = jax_galsim.GSParams(maximum_fft_size=size, minimum_fft_size=size)
        self.images = jax.numpy.asarray(images)
        self.extra = {"psf": psf_utils.get_jax_psf(self.config.psf, gsparams=precise)}
        self.model = SceneBuilder(self.config).build_batched_model(len(images))

    def map(self, warmup):
        """The MAP, then NUTS from there with its adaptation."""
        settings = self.config.inference.map_init
        data = {"observed_data": self.images, **self.extra}
        # As Inference.run_map has it, a step at a time: each of its calls would compile anew.
        guide = AutoDelta(self.model)
        svi = SVI(self.model, guide, numpyro.optim.Adam(settings.learning_rate), loss=Trace_ELBO())
        began = time.perf_counter()
        begin = svi.init(jax.random.key(0), **data)
        climb = jax.jit(lambda state: svi.update(state, **data)[0])
        jax.block_until_ready(climb(begin))
        map_compiled = time.perf_counter() - began
        state, began = begin, time.perf_counter()
        for _ in range(settings.num_steps):
            state = climb(state)
        jax.block_until_ready(state)
        map_seconds = time.perf_counter() - began
        found = guide.median(svi.get_params(state))
        # As Inference.run_mcmc has it, a step at a time: its loop would compile anew for every stretch of the chain.
        kernel = NUTS(
            self.model,
            dense_mass=self.config.inference.dense_mass,
            init_strategy=numpyro.infer.init_to_value(values=found),
        )
        began = time.perf_counter()
        self.state = kernel.init(jax.random.key(1), warmup, None, (), data)
        self.step = jax.jit(lambda state: kernel.sample(state, (), data))
        self.constrain = jax.jit(lambda state: {k: kernel.postprocess_fn((), data)(state.z)[k] for k in ("g1", "g2")})
        jax.block_until_ready(self.constrain(self.step(self.state)))
        compiled = time.perf_counter() - began
        warmed = self.sample(warmup)
        return {
            "map_compile_s": map_compiled,
            "map_s": map_seconds,
            "map": {name: np.asarray(value).tolist() for name, value in found.items()},
            "compile_s": compiled,
            "warmup_s": warmed["seconds"],
            "warmup_steps": warmed["steps"],
        }

    def sample(self, count):
        """The next draws of the chain."""
        draws, steps = {"g1": [], "g2": []}, []
        began = time.perf_counter()
        for _ in range(count):
            self.state = self.step(self.state)
            steps.append(self.state.num_steps)
            for name, value in self.constrain(self.state).items():
                draws[name].append(value)
        jax.block_until_ready(self.state)
        seconds = time.perf_counter() - began
        # Shape (draw, realization).
        shown = {name: np.asarray(values).tolist() for name, values in draws.items()}
        return {"seconds": seconds, "steps": int(np.sum(steps)), "draws": shown}


def main(config_path, images_path):
    """Answer commands until the input ends."""
    # What libraries print goes to the other stream: standard output is for answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    ancestor = Ancestor(config_path, np.load(images_path))
    versions = {"shine-wl": shine.__version__, **{one.__name__: one.__version__ for one in (jax, jax_galsim, numpyro)}}
    print(json.dumps(versions), file=answers)
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(getattr(ancestor, command.pop("do"))(**command)), file=answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
