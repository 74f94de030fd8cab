"""A family outside lanewise: the mean of a few normal numbers, whose prior is standard normal."""

from importlib import import_module

from lanewise.manifest.document import Document
from lanewise.manifest.family import Door, Starter


def _manifest() -> Document:
    """Normal numbers: where is their mean?"""
    from lanewise.operations import starter

    return starter.new("toy", None, None).override(("config",), {"sigma": 0.5}, "lanewise toy")


DOOR = Door(
    "toy",
    load=lambda: import_module("lanewise_toy.family").FAMILY,
    starter=lambda: Starter(_manifest, example="lanewise init toy -o toy.yaml"),
)
