"""Every method is what the engine takes for one: the type checker proves it here, where each is assigned once."""

from __future__ import annotations

from typing import Any

from lanewise import methods
from lanewise.methods.base import Method
from lanewise.methods.hmc import Hmc
from lanewise.methods.independent import importance, laplace
from lanewise.methods.map import Map
from lanewise.methods.nuts import Nuts
from lanewise.methods.settings import (
    HmcSettings,
    ImportanceSettings,
    LaplaceSettings,
    MapSettings,
    NutsSettings,
    ViSettings,
)
from lanewise.methods.vi import Vi

ALL: dict[str, Method[Any]] = {
    "map": Map(MapSettings()),
    "laplace": laplace(LaplaceSettings()),
    "vi": Vi(ViSettings()),
    "importance": importance(ImportanceSettings()),
    "hmc": Hmc(HmcSettings()),
    "nuts": Nuts(NutsSettings()),
}


def test_every_method_is_registered_under_its_name() -> None:
    assert set(ALL) == set(methods.METHODS)
    for name, method in ALL.items():
        assert type(methods.build(name, method_settings(name), sequential=True)) is type(method)


def method_settings(name: str) -> object:
    """The defaults of a method."""
    kinds = (MapSettings, LaplaceSettings, ViSettings, ImportanceSettings, HmcSettings, NutsSettings)
    return {kind.__name__.removesuffix("Settings").lower(): kind for kind in kinds}[name]()
