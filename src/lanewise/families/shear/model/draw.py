"""A galaxy image as a function of its parameters, for callers from Python."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lanewise.families.shear.config import ShearConfig

if TYPE_CHECKING:
    import jax


def draw(config: ShearConfig | Mapping[str, Any], **parameters: Any) -> jax.Array:
    """The noise-free image of a config's galaxy; differentiable in every parameter.

    In float64, for which JAX's 64-bit mode is switched on, unless the config names a precision.

    Args:
        config: a parsed config, or the mapping that its YAML file holds.
        parameters: flux, half_light_radius [arcsec], n (Sersic), beta (Moffat), e1, e2 [distortion], g1, g2 [reduced
            shear], x, y [pixel from the lower left corner; the middle of the stamp is at half its size]; in a Sum, a
            component's parameters are preceded by its name: bulge_n, bulge_fraction. Omitted ones take their fixed
            value or the centre of their prior; x and y take the middle of the stamp if their prior has bounds.

    Returns:
        Shape (ny, nx) [flux per pixel].

    Raises:
        ValueError: a parameter is unknown.

    The image is meaningless for n outside 0.5…6 or beta outside 2…10.
    """
    import jax

    from lanewise.families.shear import config as shear_config
    from lanewise.families.shear.priors import uniform
    from lanewise.families.shear.scene import DOMAINS, SHAPES, quantity
    from lanewise.manifest import schema

    if isinstance(config, Mapping):
        inference = {"precision": "float64", **config.get("inference", {})}
        config = shear_config.parse({**config, "inference": inference})
    if config.inference.precision == "float64":
        jax.config.update("jax_enable_x64", True)
    # The image is that of a band whose ratios are 1.
    values: dict[str, Any] = {
        name: value for name, value in config.central(config.galaxy).items() if quantity(name) != "flux_ratio"
    }
    for name in parameters:
        if name not in values:
            raise ValueError(f"unknown parameter '{name}'; {schema.nearest(name, values)}")
    # The renderer fits a fixed shape at one value only. A caller may draw at another value, or differentiate by it.
    freed = tuple(
        (name, uniform(*DOMAINS[quantity(name)]) if name in parameters and quantity(name) in SHAPES.values() else p)
        for name, p in config.galaxy.parameters
    )
    config = dataclasses.replace(config, galaxy=dataclasses.replace(config.galaxy, parameters=freed))
    given = {**values, **parameters}
    return _renderer(config)(given | {axis: given[axis] - middle for axis, middle in config.image.middle.items()})


@functools.lru_cache(maxsize=8)
def _renderer(config: ShearConfig) -> Callable[[Mapping[str, Any]], jax.Array]:
    """The careful renderer as one program: operation by operation, JAX would compile some eighty of them."""
    import jax

    from lanewise.families.shear.model.grid import GridRenderer
    from lanewise.families.shear.model.render import CAREFUL

    # It outlives a caller's trace, so its arrays must not belong to that.
    with jax.ensure_compile_time_eval():
        return jax.jit(GridRenderer(config, CAREFUL))
