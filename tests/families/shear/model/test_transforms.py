"""The cost of a gradient per exposure, counted in the compiled program by the benchmark's own functions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lanewise.machine import device

sys.path.append(str(Path(__file__).parents[4] / "benchmarks"))
import exposures


@pytest.mark.long
def test_a_gradient_by_modes_costs_two_and_a_half_transforms_of_the_stamp_at_most() -> None:
    device.prepare("cpu", "float32")
    ffts, images = exposures.transforms(exposures.problem(48, "modes"))
    # Less than one image: nothing is drawn.
    assert (ffts < 2.5, images < 1) == (True, True), (ffts, images)


@pytest.mark.long
def test_a_gradient_with_weights_costs_two_and_a_half_images_at_most() -> None:
    device.prepare("cpu", "float32")
    ffts, images = exposures.transforms(exposures.problem(48, "weights"))
    assert (ffts < 16, images < 2.5) == (True, True), (ffts, images)
