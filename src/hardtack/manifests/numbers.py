"""Numbers of a chart's values as Helm's templates print them."""

from __future__ import annotations

import math
from decimal import Decimal

_LEAST, _MOST = -4, 6  # powers of ten that are written out


class Whole(int):
    """A whole number that a function made of a value: it's printed as it stands."""


def printed(number: float) -> str:
    """A number as Go prints it. One of a value is a float64, however it is written there: 1.0 is 1,
    and 20240101 is 2.0240101e+07, which is no tag."""
    if isinstance(number, Whole):
        return str(int(number))
    value = float(number)
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    if value == 0:
        return "0"
    exact = Decimal(repr(value)).normalize()
    power = exact.adjusted()
    if _LEAST <= power < _MOST:
        return format(exact, "f")
    sign, digits, _ = exact.as_tuple()
    first, *rest = map(str, digits)
    fraction = "." + "".join(rest) if rest else ""
    return f"{'-' * sign}{first}{fraction}e{'-' if power < 0 else '+'}{abs(power):02d}"
