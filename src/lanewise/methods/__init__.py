"""Inference methods; each has its own file and one line in `METHODS`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Only here: it imports JAX, which is not needed to check a config.
    from lanewise.methods.base import Method

METHODS = {
    "map": "lanewise.methods.map:Map",
    "laplace": "lanewise.methods.independent:laplace",
    "vi": "lanewise.methods.vi:Vi",
    "importance": "lanewise.methods.independent:importance",
    "hmc": "lanewise.methods.hmc:Hmc",
    "nuts": "lanewise.methods.nuts:Nuts",
}
# Methods with another form for lanes that run side by side.
SIDE_BY_SIDE = {"nuts": "lanewise.methods.refilled:RefilledNuts"}
# A cascade of methods: each stage runs on the realizations that did not converge in the stages before.
STAGES = {"auto": ("importance", "hmc", "nuts")}


def build(name: str, settings: Any, *, sequential: bool) -> Method[Any]:
    """The method `name` with its settings. Importing it imports JAX.

    Args:
        sequential: the lanes run one after the other.

    Raises:
        KeyError: there is no such method.
    """
    path = METHODS[name] if sequential else SIDE_BY_SIDE.get(name, METHODS[name])
    module, _, attribute = path.partition(":")
    method: Method[Any] = getattr(importlib.import_module(module), attribute)(settings)
    return method
