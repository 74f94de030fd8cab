"""Writes the help of every command as a page of the site, build/docs/help.md: `make docs`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from lanewise import cli

TARGET = Path(__file__).parents[2] / "build/docs/help.md"


def page() -> str:
    """The text of help.md: what each command says with `-h`."""
    root: Any = typer.main.get_command(cli.app)
    parts = ["# Options of every command\n\nWhat `lanewise COMMAND -h` says.\n"]
    for name, command, context in _commands(root, typer.Context(root, info_name="lanewise", **root.context_settings)):
        parts.append(f"\n## {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "".join(parts)


def _commands(group: Any, context: Any) -> Iterator[tuple[str, Any, Any]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = type(context)(command, info_name=name, parent=context, terminal_width=100)
        if hasattr(command, "list_commands"):
            yield from _commands(command, inner)
        else:
            yield inner.command_path, command, inner


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(page(), encoding="utf-8")
