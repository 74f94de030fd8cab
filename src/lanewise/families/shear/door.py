"""The entry point of the shear family."""

from __future__ import annotations

from lanewise.families.shear.commands import catalogue, check, stats
from lanewise.manifest.family import AnyFamily, Door, Starter


def _load() -> AnyFamily:
    from lanewise.families.shear.family import FAMILY

    return FAMILY


def _starter() -> Starter:
    from lanewise.families.shear.starter import STARTER

    return STARTER


DOOR = Door(
    kind="shear",
    load=_load,
    starter=_starter,
    commands={"stats": stats, "check": check, "catalogue": catalogue},
)
