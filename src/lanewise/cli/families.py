"""Commands of the families: `init KIND`, `run KIND`, `simulate KIND`, and commands of a single family.

A family is imported when its command is called or listed. `lanewise --help` imports only the doors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lanewise import errors
from lanewise.cli.options import SetOption, put, with_flags
from lanewise.cli.runs import BatchIndexOption, ClusterOption, OverwriteOption, WorkersOption, carry_out
from lanewise.manifest import registry
from lanewise.manifest.document import Document
from lanewise.manifest.family import Door, Starter

OutputOption = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="The manifest to write; default: standard output."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]


class Starters(TyperGroup):
    """`init`: one command per family that has a starter."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The families."""
        return [door.kind for door in doors() if door.starter is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of the family's starter."""
        return _starting(cmd_name, _init, "init") if cmd_name in self.list_commands(ctx) else None


class Simulators(TyperGroup):
    """`simulate`: one command per family that has a simulator."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The families."""
        return [door.kind for door in doors() if door.simulator is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of the family's simulator."""
        found = {door.kind: door.simulator for door in doors()}.get(cmd_name)
        return None if found is None else command(cmd_name, found())


init = typer.Typer(
    cls=Starters, help="Write a first manifest, with comments.", no_args_is_help=True, rich_markup_mode=None
)
simulate = typer.Typer(
    cls=Simulators,
    help="Write synthetic data sets whose truth is known.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@init.callback()
def _init_group() -> None:
    """Keeps `init` a group: its commands are looked up, not registered."""


@simulate.callback()
def _simulate_group() -> None:
    """Keeps `simulate` a group: its commands are looked up, not registered."""


def doors() -> list[Door]:
    """The doors of the installed families."""
    return [registry.door(kind) for kind in registry.kinds()]


def own_commands() -> dict[str, Callable[..., None]]:
    """Commands of a single family, by name."""
    return {name: function for door in doors() for name, function in door.commands.items()}


def command(name: str, function: Callable[..., None], example: str = "") -> Any:
    """The command that calls a function."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name, epilog=f"Example: {example}" if example else None)(function)
    return typer.main.get_command(app)


def run_command(kind: str) -> Any:
    """`run KIND`: runs the campaign that the flags of the starter describe."""
    return _starting(kind, _run, "run")


def starter_of(kind: str) -> Starter | None:
    """The starter of a family; None if the family has none or is not installed."""
    found = registry.door(kind).starter if kind in registry.kinds() else None
    return None if found is None else found()


def _starting(kind: str, action: Callable[..., None], verb: str) -> Any:
    starter = starter_of(kind)
    assert starter is not None
    function = with_flags(starter.manifest, partial(action, starter))
    if verb == "init":
        function.__doc__ = starter.manifest.__doc__
        return command(kind, function, starter.example)
    function.__doc__ = (action.__doc__ or "").format(kind=kind)
    return command(f"{verb} {kind}", function)


def _init(starter: Starter, manifest: Document, output: OutputOption = None, force: ForceOption = False) -> None:
    """Write a manifest."""
    from lanewise.operations.starter import text
    from lanewise.storage.record import open_record

    # Validate before writing, so that `run` accepts what `init` writes.
    open_record(manifest)
    content = text(manifest, output, starter.paths)
    if output is None:
        print(content, end="")
        return
    if "://" not in output and Path(output).exists() and not force:
        raise errors.UsageError(f"{output}: exists already; replace it with --force")
    put(output, content.encode())
    print(f"{output}: written; next: lanewise plan {output}, then lanewise run {output}")


def _run(
    starter: Starter,
    manifest: Document,
    batch_index: BatchIndexOption = None,
    cluster: ClusterOption = False,
    overwrite: OverwriteOption = False,
    workers: WorkersOption = 1,
    overrides: SetOption = None,
) -> None:
    """Run a {kind} campaign from flags alone; its manifest is kept with the results."""
    carry_out(manifest, batch_index, overrides, cluster=cluster, overwrite=overwrite, workers=workers)


def spread(arguments: Sequence[str], several: dict[str, Callable[[str], bool]]) -> list[str]:
    """Rewrite `--shear-grid 0.01 -0.02`, as in the published pages, to `--shear-grid=0.01 --shear-grid=-0.02`.

    Args:
        several: flags that take several values in a row, each with a test of whether a word is a value.
    """
    found: list[str] = []
    flag, n_values = "", 0
    for word in [*arguments, None]:
        if word is not None and flag and several[flag](word):
            found.append(f"{flag}={word}")
            n_values += 1
            continue
        if flag and not n_values:
            found.append(flag)  # Click reports the missing value
        flag, n_values = (word, 0) if word in several else ("", 0)
        if word is not None and not flag:
            found.append(word)
    return found
