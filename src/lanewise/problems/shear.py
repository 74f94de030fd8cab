"""A galaxy image as a function of its parameters."""

from lanewise.families.shear.model.draw import draw

__all__ = ["draw"]
