"""Numbers for readers have one style."""

from __future__ import annotations

import pytest

from lanewise.statistics.numbers import number, percent, rounded, with_error


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        (0.90, ".2g", "0.90"),
        (9.996, ".3g", "10.0"),
        (1724.3, ".2g", "1724"),
        (0.00091, ".2g", "9.1 × 10⁻⁴"),
        (-3.4e-5, "+.2g", "−3.4 × 10⁻⁵"),
        (15800.0, ".3g", "1.58 × 10⁴"),
        (0.02, "+.3g", "+0.0200"),
        (1e-5, "g", "1 × 10⁻⁵"),
        (0.01, "g", "0.01"),
        (0.1 + 0.2, "g", "0.3"),
        (1e6, "g", "1 × 10⁶"),
        (-1e-7, "+.4f", "0.0000"),
        (0.05, "+.4f", "+0.0500"),
        (0.0, ".3g", "0"),
        (float("inf"), ".3g", "∞"),
        (float("nan"), ".3g", "–"),
        (None, ".3g", "–"),
    ],
)
def test_numbers_have_significant_digits_and_a_power_of_ten(value: float | None, form: str, expected: str) -> None:
    assert number(value, form) == expected


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (0.0123, 0.0045, "+0.0123 ± 0.0045"),
        (-0.0123, 0.045, "−0.012 ± 0.045"),
        (1.2e-5, 3.4e-6, "(+1.20 ± 0.34) × 10⁻⁵"),
        (-2e-12, 1e-7, "(0.0 ± 1.0) × 10⁻⁷"),
        (12345.0, 100.0, "(+1.234 ± 0.010) × 10⁴"),
        (2.5, 31.0, "+2 ± 31"),
        (0.0, 0.0, "0"),
        (5e-7, None, "+5.00 × 10⁻⁷"),
    ],
)
def test_numbers_are_written_with_two_digits_of_their_error(value: float, error: float | None, expected: str) -> None:
    assert with_error(value, error) == expected


def test_a_second_error_has_the_power_of_ten_of_the_first() -> None:
    assert with_error(16031.0, 120.0, "", 14.0) == "(1.603 ± 0.012 [0.0014]) × 10⁴"
    assert with_error(1.25, 0.031, "", 0.4) == "1.250 ± 0.031 [0.40]"
    assert with_error(1.25, 0.031, "", float("inf")) == "1.250 ± 0.031 [∞]"
    assert with_error(1.25, 0.031, "") == "1.250 ± 0.031"


def test_a_number_without_its_error_has_the_same_digits() -> None:
    assert rounded(16031.0, 120.0) == "1.603 × 10⁴"
    assert rounded(-1.0271, 0.031) == "−1.027"
    assert rounded(None, 0.031) == "–"


def test_fractions_are_percentages() -> None:
    assert [percent(0.05), percent(1.0), percent(0.6875), percent(0.52, ".1f")] == ["5 %", "100 %", "68.8 %", "52.0 %"]
