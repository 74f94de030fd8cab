"""Commands of the families: `init KIND`, `run KIND`, `simulate KIND`, and those that only one family has.

A family is imported when its command is called or listed. `lanewise --help` imports only the doors.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lanewise import errors
from lanewise.cli.options import put, with_flags
from lanewise.cli.runs import carry_out, put_beside
from lanewise.manifest import registry
from lanewise.manifest.document import Document
from lanewise.manifest.family import Door, Starter

OutputOption = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="The manifest to write; default: standard output."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]


class Group(TyperGroup):
    """A group whose commands are found when they are called; a misspelt one is told the nearest."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names, and its arguments."""
        if args and self.get_command(ctx, args[0]) is None:
            near = difflib.get_close_matches(args[0], known := self.list_commands(ctx), n=1, cutoff=0.5)
            hint = f"Did you mean '{near[0]}'?" if near else f"Expected one of {', '.join(known)}."
            ctx.fail(f"No such command '{args[0]}'. {hint}")
        return super().resolve_command(ctx, args)


class Starters(Group):
    """`init`: one command per family that has a starter."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The families with a starter."""
        return [door.kind for door in doors() if door.starter is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The family's starter as a command; None if it has none."""
        if (starter := starter_of(cmd_name)) is None:
            return None
        function = with_flags(starter.manifest, partial(_init, starter))
        return command(cmd_name, function, description=starter.manifest.__doc__, example=starter.example)


class Simulators(Group):
    """`simulate`: one command per family that has a simulator."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The families with a simulator."""
        return [door.kind for door in doors() if door.simulator is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The family's simulator; None if it has none."""
        found = {door.kind: door.simulator for door in doors()}.get(cmd_name)
        return None if found is None else command(cmd_name, found())


def _group(cls: type[Group], text: str) -> typer.Typer:
    # Without a callback, typer rejects a group that has no registered commands.
    return typer.Typer(cls=cls, help=text, callback=lambda: None, no_args_is_help=True, rich_markup_mode=None)


init = _group(Starters, "Write a first manifest, with comments.")
simulate = _group(Simulators, "Write synthetic data sets whose truth is known.")


def doors() -> list[Door]:
    """The doors of all installed families."""
    return [registry.door(kind) for kind in registry.kinds()]


def own_commands() -> dict[str, Callable[..., None]]:
    """Commands that only one family has, by name."""
    return {name: function for door in doors() for name, function in door.commands.items()}


def command(name: str, function: Callable[..., None], *, description: str | None = None, example: str = "") -> Any:
    """A function as a command of typer.

    Args:
        description: the help text; default: the function's docstring.
        example: a command line for the end of the help text.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name, help=description, epilog=f"Example: {example}" if example else None)(function)
    return typer.main.get_command(app)


def run_command(kind: str, starter: Starter) -> Any:
    """`run KIND`: runs the campaign that the starter's flags describe."""
    text = f"Run a {kind} campaign from flags alone; its manifest is written beside the results."
    action = partial(carry_out, single=starter.single, beside=starter.beside)
    return command(f"run {kind}", with_flags(starter.manifest, action), description=text)


def starter_of(kind: str) -> Starter | None:
    """The starter of an installed family; None if it has none, or the family is not installed."""
    found = registry.door(kind).starter if kind in registry.kinds() else None
    return None if found is None else found()


def _init(starter: Starter, manifest: Document, output: OutputOption = None, force: ForceOption = False) -> None:
    """Write a manifest."""
    from lanewise.operations.starter import text
    from lanewise.storage.record import open_record

    put_beside(starter.beside(manifest))
    # `run` must accept what `init` writes.
    open_record(manifest)
    content = text(manifest, output, starter.paths)
    for note in manifest.notes:
        print(note, file=sys.stderr)
    if output is None:
        print(content, end="")
        return
    if "://" not in output and Path(output).exists() and not force:
        raise errors.UsageError(f"{output}: exists already; --force replaces it")
    put(output, content.encode())
    print(f"{output}: written; next: lanewise plan {output}, then lanewise run {output}")


def spread(arguments: Sequence[str], several: dict[str, Callable[[str], bool]]) -> list[str]:
    """Write `--shear-grid 0.01 -0.02`, a form of the published pages, as `--shear-grid=0.01 --shear-grid=-0.02`.

    Args:
        several: flag → whether a word is one of its values, for flags that take several words.
    """
    found: list[str] = []
    flag, n_values = "", 0
    for word in [*arguments, None]:
        if word is not None and flag and several[flag](word):
            found.append(f"{flag}={word}")
            n_values += 1
            continue
        if flag and not n_values:
            found.append(flag)  # Click complains about a flag without a value
        flag, n_values = (word, 0) if word in several else ("", 0)
        if word is not None and not flag:
            found.append(word)
    return found
