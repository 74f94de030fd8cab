"""Whether the model describes an image: the goodness of each fit, and the status MISFIT."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.engine.lanes import SharedOut, alike, over_block
from lanewise.engine.results import Goodness, Result
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model import exposures
from lanewise.families.shear.model.correlated import inner, whitened, whitened_by
from lanewise.families.shear.model.fourier import transfer
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.families.shear.pixel_weights import inverse_sigma
from lanewise.families.shear.statistics.goodness import Measured, goodness, measure, sizes
from lanewise.manifest.manifest import Convergence
from lanewise.manifest.problem import Data, Problem
from lanewise.manifest.status import LaneStatus
from lanewise.statistics.numbers import number

# Of a million good stamps at most one is called a misfit.
P_MIN = 1e-6
# What is smaller than this, relative to the galaxy, does not matter, however significant: it can shift a shear by about
# as much. It is above the errors of the renderers, too.
SIZE_MIN = 1e-3
_TOGETHER = 16
# Shapes that are looked for in the residuals.
_FILTERS = "psf", "galaxy"


def judge(problem: Problem, fits: Sequence[tuple[Result, Data]], criteria: Convergence) -> Sequence[Result]:
    """The results with the goodness of their fit; MISFIT where a test finds more than noise, and it is not small.

    Never use an estimate to decide: exclusion by it would bias the mean of the others.

    Args:
        problem: the campaign's `ShearProblem`.
        fits: results with draws, and their data as observed.
        criteria: `misfit_p_min`; 0 for no misfits. The default is `P_MIN`; and 0 where images are simulated of another
            galaxy, point-spread function or noise than the model's, because then the misfit is what is studied.
    """
    shear_problem = cast("ShearProblem", problem)
    limit = criteria.misfit_p_min
    if limit is None:
        limit = 0.0 if shear_problem.config.simulation.differs(shear_problem.config.galaxy) else P_MIN
    found: list[Result] = [result for result, _ in fits]
    # Images of one model and of one number of exposures are drawn together.
    kinds = [(result.model, data["image"].shape) for result, data in fits]
    for block in alike(kinds, _TOGETHER):
        own = _of(shear_problem, fits[block[0]][0].model)
        for at, result in zip(block, _judged(own, [fits[at] for at in block], limit), strict=True):
            found[at] = result
    return found


def _of(problem: ShearProblem, model: str) -> ShearProblem:
    """The problem on the grid with this name: the campaign's, or a finer one."""
    while problem.model != model:
        finer = problem.finer
        assert finer is not None
        problem = finer
    return problem


@functools.lru_cache(maxsize=32)
def _draws(problem: ShearProblem) -> SharedOut:
    """Of latents and what `ShearProblem.seen` says: what `measure` needs to know of the model.

    The image, shape (e, ny, nx), with e = 1 for data without exposures; its slopes, shape (n, e, ny, nx); and the
    shapes of `_FILTERS`, shape (2, e, ny, nx).
    """
    psf = _psf(problem.config)

    def image(latents: jax.Array, seen: Data) -> tuple[jax.Array, jax.Array]:
        found = problem.image(latents, seen).reshape(-1, *psf.shape)
        return found, found

    def drawn(latents: jax.Array, seen: Data) -> tuple[jax.Array, jax.Array, jax.Array]:
        slopes, found = jax.jacfwd(image, has_aux=True)(latents, seen)
        shapes = jnp.stack([jnp.broadcast_to(jnp.asarray(psf, found.dtype), found.shape), found])
        return found, jnp.moveaxis(slopes, -1, 0), shapes

    return over_block(drawn, _TOGETHER)


@functools.cache
def _measures() -> SharedOut:
    return over_block(measure, _TOGETHER)


@functools.lru_cache(maxsize=8)
def _psf(config: ShearConfig) -> np.ndarray:
    """The image of a point source in the middle pixel, by the config's point-spread function."""
    image = config.image
    kx, ky = (
        2 * np.pi * at / image.pixel_scale for at in (np.fft.rfftfreq(image.size_x), np.fft.fftfreq(image.size_y))
    )
    drawn = np.fft.irfft2(transfer(config, kx, ky), (image.size_y, image.size_x))
    return np.asarray(np.roll(drawn, (image.size_y // 2, image.size_x // 2), axis=(0, 1)))


def _judged(problem: ShearProblem, fits: Sequence[tuple[Result, Data]], limit: float) -> Iterator[Result]:
    padded = [*fits, *[fits[0]] * (_TOGETHER - len(fits))]
    latents = np.stack([_best(result, problem.names) for result, _ in padded])
    each = [problem.seen(data) for _, data in padded]
    counts = np.arange(_TOGETHER) < len(fits)
    model, *shapes = _draws(problem)(counts, latents, {name: np.stack([one[name] for one in each]) for name in each[0]})
    stamp, dtype = problem.config.image, model.dtype
    observed = np.stack([data["image"] for _, data in padded]).reshape(model.shape)
    xy = latents[:, [problem.names.index(axis) for axis in "xy"]]
    centres = np.stack([_centres(problem.config, data, at) for (_, data), at in zip(padded, xy, strict=True)])
    if stamp.noise.per_exposure:
        power = np.stack([data["power"] for _, data in padded])
        root = inner(power, model.shape[-2:]).astype(dtype)
        observed, model = (whitened_by(power, np.asarray(one)) for one in (observed, model))
        shapes = [whitened_by(power[:, None], np.asarray(one)) for one in shapes]
    elif stamp.noise.type == "Correlated":
        observed, model, *shapes = (whitened(stamp, np.asarray(one)) for one in (observed, model, *shapes))
        root = np.ones(model.shape)
    else:
        root = np.stack([inverse_sigma(stamp, data) for _, data in padded]).reshape(model.shape)
    # What is masked may be anything, and what is not finite is not judged.
    with np.errstate(over="ignore"):
        arrays = [jnp.asarray(one, dtype) for one in (observed, root, model, *shapes, centres)]
    found = jax.device_get(_measures()(counts, *arrays))
    for at, (result, _) in enumerate(fits):
        own = Measured(*(array[at] for array in found))
        yield _marked(result, goodness(own, model.shape[1:], _FILTERS), limit)


def _centres(config: ShearConfig, data: Data, place: np.ndarray) -> np.ndarray:
    """The centres of the shapes of `_FILTERS` in each exposure, shape (2, e, 2).

    Args:
        place: of the galaxy along the axes of the sky, shape (2,).
    """
    places = place[None]
    if exposures.are_in(data):
        middle = np.array([*config.image.middle.values()])
        half = np.array([config.image.size_x, config.image.size_y]) / 2
        places = np.stack([half + one.offset + one.frame @ (place - middle) for one, _ in exposures.each(config, data)])
    pixel = config.image.size_x // 2 + 0.5, config.image.size_y // 2 + 0.5
    return np.stack([np.broadcast_to(pixel, places.shape), places])


def _best(result: Result, names: Sequence[str]) -> np.ndarray:
    """The draw with the highest density, shape (n,): a mean may lie off a curved posterior."""
    best = np.unravel_index(int(np.argmax(result.stats["lp"])), result.shape)
    return np.array([result.posterior[name][best] for name in names])


def _marked(result: Result, found: Goodness | None, limit: float) -> Result:
    if found is None:
        return result
    result = replace(result, diagnostics=replace(result.diagnostics, goodness=found))
    seen = [name for name, size in sizes(found).items() if 3 * getattr(found, name) < limit and size > SIZE_MIN]
    if not seen or result.status not in {LaneStatus.OK, LaneStatus.UNINFORMATIVE}:
        return result
    return replace(result, status=LaneStatus.MISFIT, reason=f"Misfit: {'; '.join(_told(found, seen))}.")


def _told(found: Goodness, seen: Sequence[str]) -> Iterator[str]:
    if "chi2_p" in seen:
        yield f"χ² is {number(found.chi2 / found.dof, '.3g')} per pixel (p = {number(found.chi2_p, '.1g')})"
    if "peak_p" in seen:
        shape = {"pixel": "a single pixel", "psf": "a point source", "galaxy": "the galaxy"}[found.peak_shape]
        place = f"x = {found.peak_x:g}, y = {found.peak_y:g}"
        place += f" of exposure {found.peak_exposure}" if found.peak_exposure else ""
        yield (
            f"a residual of {number(found.peak_sigma, '.3g')} σ in the shape of {shape} at {place}; mask it, or "
            "model it"
        )
    if "prior_p" in seen:
        yield f"the priors hold the fit {number(found.prior_sigma, '.3g')} σ from the data; widen or move them"
