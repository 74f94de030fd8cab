"""Commands that the families bring: `init KIND`, `run KIND`, `simulate KIND`, and those that one family alone has.

A family is looked up when its command is called, or listed: `lanewise --help` imports the doors and nothing behind
them.
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
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")]


class Starters(TyperGroup):
    """`init`: a command for every family that has a starter."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The families."""
        return [door.kind for door in doors() if door.starter is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The family's starter as a command."""
        return _starting(cmd_name, _init, "init") if cmd_name in self.list_commands(ctx) else None


class Simulators(TyperGroup):
    """`simulate`: a command for every family that has a simulator."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The families."""
        return [door.kind for door in doors() if door.simulator is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The family's simulator."""
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
    """Of the families that are installed."""
    return [registry.door(kind) for kind in registry.kinds()]


def own_commands() -> dict[str, Callable[..., None]]:
    """Commands that one family alone has, by name."""
    return {name: function for door in doors() for name, function in door.commands.items()}


def command(name: str, function: Callable[..., None], example: str = "") -> Any:
    """A function as typer's command."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name, epilog=f"Example: {example}" if example else None)(function)
    return typer.main.get_command(app)


def run_command(kind: str) -> Any:
    """`run KIND`: carries out what the starter's flags describe."""
    return _starting(kind, _run, "run")


def starter_of(kind: str) -> Starter | None:
    """The starter of a family that is installed; None if it has none, or there is no such family."""
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

    # Validated before it is written: what `init` writes, `run` takes.
    open_record(manifest)
    content = text(manifest, output, starter.paths)
    if output is None:
        print(content, end="")
        return
    if "://" not in output and Path(output).exists() and not force:
        raise errors.UsageError(f"{output}: is there already; --force replaces it")
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
    """Carry out a {kind} campaign from flags alone; its manifest is kept with the results."""
    carry_out(manifest, batch_index, overrides, cluster=cluster, overwrite=overwrite, workers=workers)


def spread(arguments: Sequence[str], several: dict[str, Callable[[str], bool]]) -> list[str]:
    """`--shear-grid 0.01 -0.02` as `--shear-grid=0.01 --shear-grid=-0.02`, as the published pages write it.

    Args:
        several: flags that take several values one after the other, and what is a value.
    """
    found: list[str] = []
    flag, n_values = "", 0
    for word in [*arguments, None]:
        if word is not None and flag and several[flag](word):
            found.append(f"{flag}={word}")
            n_values += 1
            continue
        if flag and not n_values:
            found.append(flag)  # a flag without a value is Click's to complain about
        flag, n_values = (word, 0) if word in several else ("", 0)
        if word is not None and not flag:
            found.append(word)
    return found
