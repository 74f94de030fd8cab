"""The entry point of the heterodyne family."""

from __future__ import annotations

from collections.abc import Callable

from lanewise.manifest.family import AnyFamily, Door, Starter


def _load() -> AnyFamily:
    from lanewise.families.heterodyne.family import FAMILY

    return FAMILY


def _starter() -> Starter:
    from lanewise.families.heterodyne.starter import STARTER

    return STARTER


def _simulator() -> Callable[..., None]:
    from lanewise.families.heterodyne.commands import simulate

    return simulate


DOOR = Door(
    kind="heterodyne",
    load=_load,
    starter=_starter,
    simulator=_simulator,
)
