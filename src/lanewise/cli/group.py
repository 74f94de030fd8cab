"""What typer cannot say: a command of two words beside one of one, and a flag with several values."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

# Flags of the published pages that take their values one after the other.
_SPREAD = {"--shear-grid"}
RUN_KINDS = ("shear",)


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
    """`--shear-grid 0.01 -0.02` as `--shear-grid=0.01 --shear-grid=-0.02`."""
    found: list[str] = []
    flag = ""
    for word in args:
        if word in _SPREAD:
            flag = word
        elif flag and _is_number(word):
            found.append(f"{flag}={word}")
        else:
            # A flag that no number followed takes the next word, whatever it is.
            if flag and (not found or not found[-1].startswith(f"{flag}=")):
                found.append(flag)
            flag = ""
            found.append(word)
    return [*found, flag] if flag and (not found or not found[-1].startswith(f"{flag}=")) else found


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
