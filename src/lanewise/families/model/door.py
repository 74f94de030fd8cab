"""The entry point of the model family."""

from __future__ import annotations

from lanewise.families.model.compare import compare
from lanewise.manifest.family import AnyFamily, Door, Starter


def _load() -> AnyFamily:
    from lanewise.families.model.family import FAMILY

    return FAMILY


def _starter() -> Starter:
    from lanewise.families.model.starter import STARTER

    return STARTER


DOOR = Door(kind="model", load=_load, starter=_starter, commands={"compare": compare})
