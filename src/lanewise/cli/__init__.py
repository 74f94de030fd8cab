"""The command line, one module per group of commands. A command calls a function of another room, which it imports when
it runs: `--help` must not import NumPy or JAX.
"""

from __future__ import annotations

import errno
import sys
from typing import Annotated, Any, NoReturn

import typer

from lanewise import __version__, errors
from lanewise.cli import aggregation, families, machine, manifests, render, runs, upkeep
from lanewise.cli.group import Commands
from lanewise.machine import host, interrupts, progress

app = typer.Typer(
    name="lanewise",
    cls=Commands,
    help="Campaigns of many independent Bayesian inference problems, from one manifest.",
    epilog="Start with: lanewise init shear -o my.yaml; then lanewise plan, run and aggregate my.yaml.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(families.init, name="init")
for _command in (
    manifests.validate,
    manifests.plan,
    runs.run,
    runs.status,
    runs.retry,
    manifests.extend,
    manifests.rechunk,
    upkeep.verify,
    upkeep.export,
    upkeep.clean,
    aggregation.extract,
    aggregation.aggregate,
    machine.tune,
    machine.doctor,
):
    app.command()(_command)
app.add_typer(render.app, name="render")
app.add_typer(families.simulate, name="simulate")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"lanewise {__version__}")
        raise typer.Exit


# Since 0.16, typer contains its own Click and does not export this class; its only public subclass is BadParameter.
_ClickUsageError: Any = typer.BadParameter.__mro__[1]


def main() -> NoReturn:
    """Run the command line; a LanewiseError becomes its text and its exit code, without a traceback."""
    host.one_thread_for_small_products()
    try:
        interrupts.install()
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except errors.LanewiseError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        # Storage and files have errors of their own: this one is of standard output.
        if error.filename is not None or error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EPIPE, errno.EIO}:
            raise
        print(f"standard output: {error.strerror}", file=sys.stderr)
        progress.mute()
        sys.exit(errors.StorageError.exit_code)
    except _ClickUsageError as error:
        error.show()
        sys.exit(errors.UsageError.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
