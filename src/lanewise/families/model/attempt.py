"""Calls into the user's code, whose errors become sentences with their line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from lanewise.errors import DataError
from lanewise.families.model import code as codes
from lanewise.families.model.config import ModelConfig

_BRANCH = "branches on a value (`if`, `and`, `while`); write jnp.where or lax.cond, which all data sets share"


def attempt(config: ModelConfig, call: Callable[[], Any]) -> Any:
    """The result of a call into the user's code; its error as a sentence.

    Raises:
        DataError: the code raised an error.
    """
    try:
        return call()
    except DataError:
        raise
    except Exception as error:  # whatever the user's model raises
        where = codes.place(error, config.code)
        raise DataError(f"{where}: {_explained(error, config)}") from error


def _explained(error: Exception, config: ModelConfig) -> str:  # noqa: PLR0911 - one per error
    text = str(error).splitlines()[0] if str(error) else ""
    match error:
        case jax.errors.TracerBoolConversionError():
            return _BRANCH
        case ValueError() if "truth value of an array" in text:
            return _BRANCH
        case jax.errors.NonConcreteBooleanIndexError():
            return "selects by a condition, so shapes depend on values; write jnp.where, or numpyro.handlers.mask"
        case jax.errors.TracerArrayConversionError():
            return "gives a value to NumPy; write jnp in place of np"
        case jax.errors.TracerIntegerConversionError() | jax.errors.ConcretizationTypeError():
            return "needs the number behind a value, e.g. by float(), int() or range(); write it with jnp"
        case KeyError() if error.args and error.args[0] not in config.inputs.names:
            known = ", ".join(config.inputs.names)
            return f"data has no {error.args[0]!r}; inputs.columns and inputs.scalars give {known} and mask"
        case TypeError() if "positional argument" in text:
            return f"{text}; lanewise calls the model with one argument, model(data)"
        case NotImplementedError() if not text:
            return "draws from a prior that cannot be drawn from, such as an improper one; give it a wide proper one"
        case ValueError() if "joint log density is a scalar" in text:
            return (
                "a discrete latent is summed out, which needs a plate around what has several values: "
                "with numpyro.plate('row', data['y'].shape[0]): …"
            )
        case AssertionError() if "unique names" in text:
            return f"{text}; give every site a name of its own"
        case _:
            return f"{type(error).__name__}: {text}"
