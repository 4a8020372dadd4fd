"""Options of a model: what they mean, their defaults, and whether given ones are right.

Rule to keep: an option that is not known, or not of its range, is OPTION with the known ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from podsql.errors import Error, error

Value = float | int | bool
Options = Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What an option means. ``default`` None: it must be given."""

    name: str
    default: Value | None
    meaning: str
    least: float = 0.0
    above: bool = False
    """``least`` itself is not allowed."""
    most: float = 1e300


def checked(model: str, options: tuple[Option, ...], given: Options) -> dict[str, Value]:
    """Every option of ``model`` with its value; OPTION for an unknown or a wrong one."""
    known = {option.name: option for option in options}
    for name in given:
        if name not in known:
            raise error(
                "OPTION",
                f"{model} has no option {name!r}",
                hint=f"known: {', '.join(known)}" if known else "it has none",
            )
    found: dict[str, Value] = {}
    for option in options:
        value = given.get(option.name, option.default)
        if value is None:
            raise error("OPTION", f"{model} needs the option {option.name!r}")
        found[option.name] = _of_range(model, option, value)
    return found


def _of_range(model: str, option: Option, value: Value) -> Value:
    if isinstance(option.default, bool):
        if isinstance(value, bool):
            return value
        raise _wrong(model, option, "true or false")
    whole = isinstance(option.default, int) or option.default is None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise _wrong(model, option, "a number")
    if whole and value != int(value):
        raise _wrong(model, option, "a whole number")
    low = value <= option.least if option.above else value < option.least
    if low or value > option.most:
        bound = "above" if option.above else "at least"
        raise _wrong(model, option, f"{bound} {option.least:g}, at most {option.most:g}")
    return int(value) if whole else float(value)


def _wrong(model: str, option: Option, wanted: str) -> Error:
    return error(
        "OPTION",
        f"the option {option.name!r} of {model} is not {wanted}",
        hint=f"{option.name}: {option.meaning}",
    )
