"""The root command group: `run KIND` beside `run MANIFEST`, and the commands of families."""

from __future__ import annotations

from typing import Any

from lanewise.cli import families


class Commands(families.Group):
    """Commands of lanewise and of families; `run shear …` is a command, `run` and another word takes a manifest."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order of use; typer would list groups last."""
        registered = super().list_commands(ctx)
        return ["init", *(name for name in registered if name != "init"), *families.own_commands()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command of lanewise or of a family; None if it does not exist."""
        if (found := super().get_command(ctx, cmd_name)) is not None:
            return found
        verb, _, kind = cmd_name.partition(" ")
        if verb == "run" and (starter := families.starter_of(kind)) is not None:
            return families.run_command(kind, starter)
        own = families.own_commands().get(cmd_name)
        return None if own is None else families.command(cmd_name, own)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the words name, and its arguments."""
        verb, kind = [*args, "", ""][:2]
        starter = families.starter_of(kind) if verb in {"init", "run"} else None
        if starter is not None:
            args = families.spread(args, dict(starter.several))
            if verb == "run":
                args = [f"run {kind}", *args[2:]]
        return super().resolve_command(ctx, args)
