"""Numbers for readers: one style for sentences, tables and plots.

The minus is "−". A number below 0.001, or of 10⁴ and more, has a power of ten. Zeros at the end count: 0.90 has two
digits.
"""

from __future__ import annotations

import math

ABSENT = "–"


def number(value: float | None, form: str = ".3g") -> str:
    """A number; a dash if it is undefined.

    Args:
        form: as for `format`: ".3g" has three significant digits, ".2f" two decimals, "g" the digits that a person
            wrote, and "+" shows the sign of positive numbers, too.
    """
    if value is None or math.isnan(value):
        return ABSENT
    if math.isinf(value):
        return "−∞" if value < 0 else "∞"
    if value == 0 and form.endswith("g"):
        return "0"
    if not form.endswith("g"):
        return _signed(format(value, form))
    digits = form.removesuffix("g").partition(".")[2]
    mantissa, _, exponent = format(value, f".{int(digits) - 1}e" if digits else ".11e").partition("e")
    power = int(exponent)
    if -3 <= power < 4:
        power, text = 0, f"{value:.{max((int(digits) if digits else 12) - 1 - power, 0)}f}"
    else:
        text = mantissa
    if not digits and "." in text:
        text = text.rstrip("0").rstrip(".")
    return _signed(f"{'+' if '+' in form and value > 0 else ''}{text}") + _times(power)


def with_error(value: float | None, error: float | None, sign: str = "+", second: float | None = None) -> str:
    """A number with its error to two digits, and a power of ten for both if they are small or large.

    Args:
        sign: "+" shows the sign of positive numbers, too; "" does not.
        second: another error of the number, in brackets behind the first, to two digits of its own.
    """
    if value is None or error is None or not error > 0:
        return number(value, f"{sign}.3g")
    shown, shown_error, power = _to_digits_of(value, error, sign)
    text = f"{shown} ± {shown_error}"
    if second is not None and second > 0:
        scaled = second / 10.0**power
        text += f" [{scaled:.{_decimals(scaled)}f}]" if math.isfinite(scaled) else " [∞]"
    return f"({text}){_times(power)}" if power else text


def rounded(value: float | None, error: float | None) -> str:
    """A number with the digits that `with_error` shows, without the error."""
    if value is None or error is None or not error > 0:
        return number(value)
    shown, _, power = _to_digits_of(value, error, "")
    return f"{shown}{_times(power)}"


def _to_digits_of(value: float, error: float, sign: str) -> tuple[str, str, int]:
    """Number, error and power of ten."""
    power = math.floor(math.log10(max(abs(value), error)))
    power = 0 if -3 <= power < 4 else power
    scaled, scaled_error = value / 10.0**power, error / 10.0**power
    digits = _decimals(scaled_error)
    return _signed(f"{scaled:{sign}.{digits}f}"), f"{scaled_error:.{digits}f}", power


def _decimals(error: float) -> int:
    """Decimals that show two digits of an error."""
    return min(max(1 - math.floor(math.log10(error)), 0), 12)


def percent(value: float | None, form: str = "") -> str:
    """A fraction as a percentage, to three digits or in a form; a dash if it is undefined."""
    if value is None:
        return ABSENT
    return f"{number(100 * value, form) if form else number(float(f'{100 * value:.3g}'), 'g')} %"


def superscript(power: int) -> str:
    """An exponent in superscript: −4 gives ⁻⁴."""
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _times(power: int) -> str:
    return f" × 10{superscript(power)}" if power else ""


def _signed(text: str) -> str:
    """With a minus in place of the hyphen, and without the sign of a zero."""
    bare = text.lstrip("+-")
    return bare if not bare.strip("0.") else text.replace("-", "−")
