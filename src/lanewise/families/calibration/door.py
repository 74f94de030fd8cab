"""The entry point of the calibration family."""

from __future__ import annotations

from lanewise.manifest.family import AnyFamily, Door, Starter


def _load() -> AnyFamily:
    from lanewise.families.calibration.family import FAMILY

    return FAMILY


def _starter() -> Starter:
    from lanewise.families.calibration.starter import STARTER

    return STARTER


DOOR = Door(
    kind="calibration",
    load=_load,
    starter=_starter,
)
