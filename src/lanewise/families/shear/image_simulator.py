"""Images with a known shear, drawn by GalSim, so that the simulation is independent of our renderer."""

from __future__ import annotations

from collections.abc import Mapping

import galsim
import numpy as np

from lanewise.families.shear import correlation, psf_image
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.point_spread import AnyPsf, PsfImage, PsfImages
from lanewise.families.shear.scene import SHAPES, Component
from lanewise.manifest.plan import Single
from lanewise.manifest.problem import Observation


def simulate(config: ShearConfig, member: Single) -> Observation:
    """One image, drawn with GalSim's default accuracy, its seed sets the noise.

    Parameters that the campaign does not set are as in `ShearConfig.central`.

    Returns:
        The truth, and data: `image`, shape (ny, nx), float64 [flux per pixel]; for PerPixel noise also `weight`, of
        the same shape, the inverse variance [1/flux²]; `given`, the true values that the model is given, if any.
    """
    truth = {**config.central(config.simulated_galaxy), **member.truth}
    image, noise = galsim.Image(drawn(config, truth)), config.simulated_image.noise
    if noise.simulated and noise.type == "Correlated":
        image += galsim.Image(correlation.draw(config.simulated_image, member.seed))
    elif noise.simulated:
        image.addNoise(galsim.GaussianNoise(galsim.BaseDeviate(member.seed), sigma=noise.sigma))
    data = weighted(config, image.array)
    if config.simulation.given:
        data["given"] = np.array([truth[name] for name in config.simulation.given])
    return Observation.of(data, truth)


def drawn(config: ShearConfig, truth: Mapping[str, float]) -> np.ndarray:
    """The image without noise, shape (ny, nx), float64 [flux per pixel]; the truth has every parameter."""
    # Threads of GalSim share even a few pixels of noise, and wait for each other: up to 50 ms on a busy machine. The
    # number is that of the calling thread.
    galsim.utilities.set_omp_threads(1)
    scene = galsim.Convolve([_galaxy(config, truth), _psf(config.simulated_psf)])
    stamp = config.image
    offset = galsim.PositionD(*(truth[axis] - middle for axis, middle in stamp.middle.items()))
    image = scene.drawImage(
        nx=stamp.size_x,
        ny=stamp.size_y,
        scale=stamp.pixel_scale,
        offset=offset,
        dtype=np.float64,
        method="no_pixel" if config.simulated_psf.includes_pixel else "auto",
    )
    found: np.ndarray = image.array
    return found


def weighted(config: ShearConfig, image: np.ndarray) -> dict[str, np.ndarray]:
    """The image as data, for PerPixel noise with its weights."""
    noise = config.image.noise
    if noise.type == "PerPixel" and noise.sigma is not None:
        return {"image": image, "weight": np.full(image.shape, noise.sigma**-2.0)}
    return {"image": image}


def _galaxy(config: ShearConfig, truth: Mapping[str, float]) -> galsim.GSObject:
    components = [component for _, component in config.simulated_galaxy.components]
    rest = 1.0 - sum(truth[c.fraction] for c in components if c.fraction)
    parts = [_profile(c, truth, truth["flux"] * (truth[c.fraction] if c.fraction else rest)) for c in components]
    galaxy = parts[0] if len(parts) == 1 else galsim.Add(parts)
    bias = config.simulation.bias
    g1, g2 = ((1 + bias.m) * truth[name] + bias.c for name in ("g1", "g2"))
    return galaxy.shear(e1=truth["e1"], e2=truth["e2"]).shear(g1=g1, g2=g2)


def _profile(component: Component, truth: Mapping[str, float], flux: float) -> galsim.GSObject:
    shape = {SHAPES[component.type]: truth[component.shape]} if component.shape else {}
    # A component has the name of its profile in GalSim.
    profile = getattr(galsim, component.type)
    return profile(flux=flux, half_light_radius=truth[component.half_light_radius], **shape)


def _psf(psf: AnyPsf) -> galsim.GSObject:
    if isinstance(psf, PsfImage):
        # By default GalSim cuts the interpolated PSF at a maximum wave number; the model does not.
        image = galsim.Image(psf_image.read(psf))
        return galsim.InterpolatedImage(image, scale=psf.pixel_scale, flux=1.0, calculate_maxk=False)
    assert not isinstance(psf, PsfImages)
    if psf.type == "Moffat":
        unsheared = galsim.Moffat(beta=psf.beta, fwhm=psf.sigma)
    else:
        unsheared = galsim.Gaussian(sigma=psf.sigma)
    # Even a shear of 0 is a transformation in GalSim, and would change the last bits.
    return unsheared.shear(e1=psf.e1, e2=psf.e2) if psf.e1 or psf.e2 else unsheared
