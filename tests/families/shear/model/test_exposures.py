"""Exposures with Jacobians, centres and point-spread functions of their own, against images that GalSim draws."""

from __future__ import annotations

import functools
from typing import Any

import galsim
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanewise.families.shear import config as shear_config
from lanewise.families.shear.model.grid import Grid
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.families.shear.model.render import STAMP
from lanewise.machine import device

TIGHT = galsim.GSParams(folding_threshold=1e-5, maxk_threshold=1e-7, kvalue_accuracy=1e-9, maximum_fft_size=16384)
NORMAL = {"type": "Normal", "mean": 0.0, "sigma": 0.1}
# With so little noise the priors pull g by less than 1e-7.
SCALE, N, SIGMA = 0.263, 40, 1e-5
TRUTH = {"g1": 0.03, "g2": -0.02}
# Where the object is in the sky from where it is expected [arcsec].
PLACE = (0.05, -0.08)
TURN = np.array([[np.cos(np.pi / 6), -np.sin(np.pi / 6)], [np.sin(np.pi / 6), np.cos(np.pi / 6)]])
JACOBIANS = {
    "identity": np.eye(2) * SCALE,
    "flip": np.diag([-SCALE, SCALE]),
    "turned by 30°": SCALE * TURN,
    "turned by 90°": SCALE * np.array([[0.0, -1.0], [1.0, 0.0]]),
    "oblong by 2 %": np.diag([1.02 * SCALE, SCALE]),
    "oblong by 10 %": np.diag([SCALE, 1.1 * SCALE]),
    "sheared": np.array([[0.237892, 0.02], [-0.011, 0.290757]]),
}


@pytest.fixture(autouse=True)
def _float64() -> None:
    device.prepare("cpu", "float64")


def config(**psf: Any) -> shear_config.ShearConfig:
    return shear_config.parse(
        {
            "image": {"pixel_scale": SCALE, "size_x": N, "size_y": N, "noise": {"sigma": SIGMA}},
            "psf": psf or {"type": "Gaussian", "sigma": 0.38, "ellipticity": {"e1": 0.05, "e2": 0.03}},
            "gal": {
                "type": "Gaussian",
                "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
                "half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.3},
                "shear": {"g1": NORMAL, "g2": NORMAL},
                "position": {"type": "Normal", "sigma": 0.5},
            },
            "inference": {"precision": "float64"},
        }
    )


def drawn(
    jacobian: np.ndarray, offset: tuple[float, float] = (0.0, 0.0), psf: galsim.GSObject | None = None, **how: Any
) -> np.ndarray:
    """The galaxy through an exposure, whose object is at `offset` from the middle of the stamp [pixel]."""
    galaxy = galsim.Gaussian(flux=1.0, half_light_radius=0.5, gsparams=TIGHT).shear(**TRUTH).shift(*PLACE)
    psf = psf or galsim.Gaussian(sigma=0.38, gsparams=TIGHT).shear(e1=0.05, e2=0.03)
    wcs = galsim.JacobianWCS(*jacobian.ravel())
    seen = galsim.Convolve([galaxy, psf], gsparams=TIGHT)
    image: np.ndarray = seen.drawImage(nx=N, ny=N, wcs=wcs, offset=offset, dtype=np.float64, **how).array
    return image


def data_of(*exposures: tuple[np.ndarray, tuple[float, float], np.ndarray], **more: Any) -> dict[str, np.ndarray]:
    jacobians, offsets, images = (np.stack([np.asarray(one[at]) for one in exposures]) for at in range(3))
    return {"image": images, "jacobian": jacobians, "offset": offsets, "flux_factor": np.ones(len(images)), **more}


@functools.cache
def programs(parsed: shear_config.ShearConfig, grid: Grid) -> tuple[ShearProblem, Any]:
    """The problem, and a Gauss-Newton step towards the mode."""
    problem = ShearProblem(parsed, grid)

    @jax.jit
    def step(u: jax.Array, data: Any) -> jax.Array:
        moved: jax.Array = jnp.linalg.solve(problem.curvature(u, data), jax.grad(problem.log_density)(u, data))
        return u + moved

    return problem, step


def best(parsed: shear_config.ShearConfig, grid: Grid, data: dict[str, np.ndarray]) -> dict[str, float]:
    """The mode, whose priors are weak."""
    problem, step = programs(parsed, grid)
    prepared = {name: jnp.asarray(array) for name, array in problem.prepare(data).items()}
    u = problem.start(prepared)
    for _ in range(20):
        u = step(u, prepared)
    assert float(problem.flaw(u, prepared)) < 1
    return dict(zip(problem.names, np.asarray(problem.constrain(u)).tolist(), strict=True))


def assert_true(found: dict[str, float], within: float = 1e-5) -> None:
    expected = TRUTH | {name: N / 2 + at / SCALE for name, at in zip("xy", PLACE, strict=True)}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=within)


@pytest.mark.long
@pytest.mark.parametrize("grid", [STAMP, Grid(1.5, 1.75)], ids=["modes", "pixels"])
@pytest.mark.parametrize("jacobian", JACOBIANS.values(), ids=JACOBIANS)
def test_g_and_the_centre_are_in_the_frame_of_the_sky(jacobian: np.ndarray, grid: Grid) -> None:
    offset = (0.3, -0.7)
    assert_true(best(config(), grid, data_of((jacobian, offset, drawn(jacobian, offset)))))


@pytest.mark.long
@pytest.mark.parametrize("pixel", ["apart", "included"])
@pytest.mark.parametrize("grid", [STAMP, Grid(1.5, 1.75)], ids=["modes", "pixels"])
def test_each_exposure_has_a_psf_image_of_its_own_in_the_axes_of_its_pixels(grid: Grid, pixel: str) -> None:
    """As surveys draw them: at the place of the object, on its pixels or finer ones, with the pixel or without it."""
    finer = 0.5
    exposures, images, centres = [], [], []
    for jacobian, width, middle in ((JACOBIANS["sheared"], 0.38, 0.0), (JACOBIANS["flip"], 0.45, 0.5)):
        seen = galsim.Gaussian(sigma=width, gsparams=TIGHT).shear(g1=0.04, g2=-0.02)
        wcs = galsim.JacobianWCS(*(finer * jacobian).ravel())
        whole = galsim.JacobianWCS(*jacobian.ravel())
        parts = [seen, whole.toWorld(galsim.Pixel(1.0))] if pixel == "included" else [seen]
        shown = galsim.Convolve(parts, gsparams=TIGHT)
        image = shown.drawImage(nx=41, ny=39, wcs=wcs, offset=(middle, 0), method="no_pixel", dtype=np.float64)
        images.append(image.array / image.array.sum())
        centres.append((41 / 2 + middle, 39 / 2))
        exposures.append((jacobian, (0.2, 0.1), drawn(jacobian, (0.2, 0.1), seen)))
    psf = {"type": "PerExposure", "fwhm": 0.9, "pixel_scale": finer * SCALE, "pixel": pixel}
    data = data_of(*exposures, psf=np.stack(images), psf_centre=np.array(centres))
    # The interpolation of the images, and what lies outside them.
    assert_true(best(config(**psf), grid, data), within=3e-5)


@pytest.mark.slow
def test_a_psf_image_with_wide_wings_on_coarse_pixels_is_what_galsim_interpolates() -> None:
    """A Moffat in the pixels of a sheared exposure, without the typical width's Gaussian wings."""
    jacobian = JACOBIANS["sheared"]
    wcs = galsim.JacobianWCS(*jacobian.ravel())
    image = galsim.Moffat(beta=3.0, fwhm=0.75).drawImage(nx=33, ny=33, wcs=wcs, method="no_pixel", dtype=np.float64)
    seen = galsim.InterpolatedImage(image, flux=1.0, calculate_maxk=False, pad_factor=16, gsparams=TIGHT)
    psf = {"type": "PerExposure", "fwhm": 0.9, "pixel_scale": SCALE}
    data = data_of(
        (jacobian, (0.1, 0.2), drawn(jacobian, (0.1, 0.2), seen)), psf=(image.array / image.array.sum())[None]
    )
    data["psf_centre"] = np.array([[16.5, 16.5]])
    assert_true(best(config(**psf), Grid(2, 2), data))


@pytest.mark.long
@pytest.mark.parametrize("grid", [STAMP, Grid(1.5, 1.75)], ids=["modes", "pixels"])
def test_log_likelihoods_add_and_rows_that_fill_up_add_nothing(grid: Grid) -> None:
    problem, _ = programs(config(), grid)
    one = (JACOBIANS["sheared"], (0.0, 0.0), drawn(JACOBIANS["sheared"]) + 1e-4)
    other = (JACOBIANS["flip"], (0.4, 0.2), 0.5 * drawn(JACOBIANS["flip"], (0.4, 0.2)))
    factor = np.array([1.0, 0.5])
    both = data_of(one, other) | {"flux_factor": factor}
    filled = {name: np.concatenate([array, array[:1]]) for name, array in both.items()}
    filled["mask"] = np.array([True, True, False])
    singles = [data_of(each) | {"flux_factor": factor[at : at + 1]} for at, each in enumerate((one, other))]
    p = {**TRUTH, "flux": 1.0, "half_light_radius": 0.5, "x": 20.3, "y": 19.8}
    latents = {name: jnp.asarray(p[name]) for name in problem.names}

    likelihood, curvature = jax.jit(problem.log_likelihood), jax.jit(problem.curvature)

    def value(data: dict[str, np.ndarray]) -> tuple[float, np.ndarray]:
        prepared = problem.prepare(data)
        at = problem.start(prepared)
        return float(likelihood(latents, prepared)), np.asarray(curvature(at, prepared))

    (first, _), (second, _), (joint, shape), (padded, same) = map(value, (*singles, both, filled))
    assert joint == pytest.approx(first + second, rel=1e-12)
    assert padded == pytest.approx(joint, rel=1e-12)
    np.testing.assert_allclose(same, shape, rtol=1e-10, atol=1e-10 * shape.max())
