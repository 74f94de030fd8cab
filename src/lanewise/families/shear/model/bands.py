"""The colours of a galaxy: the flux of its components in the band of each exposure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lanewise.families.shear.scene import Galaxy
from lanewise.manifest.problem import Data

# Of an exposure: 1 for its band and 0 for the others, in the order of the config's names.
BAND = "band"


def seen(galaxy: Galaxy, p: Mapping[str, Any], exposure: Data) -> Mapping[str, Any]:
    """The parameters with flux and fractions as they are in the band of the exposure.

    With shares f_c of the flux F and ratios r_c of its band, the galaxy has the flux F Σ f_c r_c there, of which a
    component has f_c r_c / Σ f_c r_c.
    """
    if not galaxy.bands:
        return p
    components = [component for _, component in galaxy.components]
    rest = 1.0 - sum(p[one.fraction] for one in components if one.fraction)
    parts = []
    for at, component in enumerate(components):
        ratio = sum(exposure[BAND][b] * p[names[at]] for b, (_, names) in enumerate(galaxy.bands))
        parts.append((p[component.fraction] if component.fraction else rest) * ratio)
    total = sum(parts)
    shares = {
        component.fraction: part / total
        for component, part in zip(components, parts, strict=True)
        if component.fraction
    }
    return {**p, "flux": p["flux"] * total, **shares}
