"""What typer cannot say: a command of two words beside one of one, and a flag with several values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typer.core import TyperGroup

RUN_KINDS = ("shear", "calibration", "heterodyne")


class Commands(TyperGroup):
    """`run shear …` is a command of its own, though `run` takes any other word for a manifest."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of use: `init` is a group of commands, which typer would list last."""
        return ["init", *(name for name in super().list_commands(ctx) if name != "init")]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the words name, and the arguments left for it."""
        if args[:1] == ["run"] and args[1:2] and args[1] in RUN_KINDS:
            args = [" ".join(args[:2]), *args[2:]]
        return super().resolve_command(ctx, _one_value_each(args))


def _one_value_each(args: list[str]) -> list[str]:
    """`--shear-grid 0.01 -0.02` as `--shear-grid=0.01 --shear-grid=-0.02`, `--data a b` likewise."""
    found: list[str] = []
    flag, n_values = "", 0
    for word in [*args, None]:
        if word is not None and flag and _SPREAD[flag](word):
            found.append(f"{flag}={word}")
            n_values += 1
            continue
        if flag and not n_values:
            found.append(flag)  # a flag without a value is Click's to complain about
        flag, n_values = (word, 0) if word in _SPREAD else ("", 0)
        if word is not None and not flag:
            found.append(word)
    return found


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


# Flags of the published pages that take several values one after the other, and what is a value.
_SPREAD: dict[str, Callable[[str], bool]] = {
    "--shear-grid": _is_number,
    "--data": lambda word: not word.startswith("-"),
}
