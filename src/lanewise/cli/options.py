"""Arguments and functions that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lanewise import errors
from lanewise.manifest.document import Document
from lanewise.manifest.locations import split

if TYPE_CHECKING:
    from lanewise.api import Campaign

ManifestArgument = Annotated[str, typer.Argument(metavar="MANIFEST", help="Path or URL of the manifest (YAML).")]
CampaignArgument = Annotated[
    str,
    typer.Argument(
        metavar="MANIFEST", help="Path or URL of the manifest, or the output URL of a campaign that has run."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a key, e.g. --set batch.size=8; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def load(source: str | Document, overrides: list[str] | None) -> Campaign:
    """The campaign of a manifest, or of the output URL of a campaign that has run."""
    from lanewise import api

    return api.load(source, overrides or ())


def put(path: str, data: bytes) -> None:
    """Write a file to a path or URL of the user.

    Raises:
        UsageError: the path ends with a slash.
    """
    from lanewise.storage.store import Store

    folder, name = split(path)
    if not name:
        raise errors.UsageError(f"{path}: expected a file, got a directory; add a name")
    Store(folder).put(name, data)


def with_flags(make: Callable[..., Any], action: Callable[..., None]) -> Callable[..., None]:
    """A function of the flags that both take; it calls the action with what `make` returns as the first argument.

    Args:
        action: keywords that a partial has set already are no flags.
    """
    theirs = inspect.signature(make, eval_str=True).parameters
    known = getattr(action, "keywords", {})
    (_, *parameters) = inspect.signature(action, eval_str=True).parameters.values()
    ours = [one for one in parameters if one.name not in known]

    def function(**flags: Any) -> None:
        made = make(**{name: flags[name] for name in theirs})
        action(made, **{one.name: flags[one.name] for one in ours})

    function.__signature__ = inspect.Signature([*theirs.values(), *ours])  # type: ignore[attr-defined]
    function.__doc__ = action.__doc__
    return function
