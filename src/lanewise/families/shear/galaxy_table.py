"""Galaxies of simulated images from a table: parameters by formulas of its columns, one row per seed."""

from __future__ import annotations

import ast
import functools
import io
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lanewise.errors import DataError, ManifestError
from lanewise.families.shear.scene import DOMAINS, inside, quantity
from lanewise.manifest.document import Document, Path
from lanewise.storage import inputs
from lanewise.storage.inputs import Input

FORMATS = (".parquet", ".csv")
# Combined with the seed; `truth_draws` has another number. Changing it changes every truth.
_PURPOSE = 3
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS = {name: getattr(np, name) for name in ("sqrt", "exp", "log", "log10", "sin", "cos", "radians", "abs")}


@dataclass(frozen=True)
class Catalogue:
    """A table of galaxies.

    Attributes:
        columns: formula by parameter of the galaxy.
        cuts: formulas that are true for the rows that are used.
    """

    file: Input
    columns: tuple[tuple[str, str], ...]
    cuts: tuple[str, ...] = ()
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset(name for name, _ in self.columns))

    @property
    def content(self) -> dict[str, Any]:
        """The values that affect the truths, for the identity; the path of the file does not."""
        return {"sha256": self.file.sha256, "columns": dict(self.columns), "cuts": list(self.cuts)}

    def galaxy(self, seed: int) -> dict[str, float]:
        """The parameters of a row that is chosen by the seed; rows may come again."""
        table = read(self)
        at = int(np.random.default_rng((seed, _PURPOSE)).integers(len(next(iter(table.values())))))
        return {name: float(values[at]) for name, values in table.items()}


def parse(value: Mapping[str, Any]) -> Catalogue:
    """The catalogue from the section `simulation.catalogue`, which the schema has checked."""
    columns = tuple((name, str(formula)) for name, formula in sorted(value["columns"].items()))
    return Catalogue(inputs.pinned(value["file"]), columns, tuple(value.get("cuts", ())))


def resolve(config: Document, place: Path) -> dict[str, Any]:
    """The section at `place` with its file found, read and pinned by its SHA-256.

    Raises:
        ManifestError: the file is missing, is no such table, or a formula does not fit to it.
    """
    here = (*place, "file")
    found = inputs.resolve(config, here) if isinstance(config.at(here), str) else [config.at(here)]
    if len(found) != 1:
        raise ManifestError([config.complaint(here, f"expected one file, got {len(found)}")])
    resolved = {**config.at(place), "file": found[0]}
    try:
        read(parse(resolved))
    except DataError as error:
        raise ManifestError([config.complaint(place, str(error))]) from None
    return resolved


@functools.lru_cache(maxsize=2)
def read(catalogue: Catalogue) -> dict[str, np.ndarray]:
    """The parameters of the rows that pass the cuts, by name, each of shape (n_rows,).

    Raises:
        DataError: the file has changed or is no table, a formula does not fit to it, no row passes the cuts, or a
            parameter of one that passes is outside its domain.
        InputUnreachable: the file is not there, or storage cannot be reached.
    """
    path = catalogue.file.path
    table = _columns(inputs.read(catalogue.file), path)
    with np.errstate(all="ignore"):
        kept = np.ones(len(next(iter(table.values()))), bool)
        for cut in catalogue.cuts:
            kept &= np.asarray(value(cut, table, path), bool)
        found = {
            name: np.broadcast_to(np.asarray(value(formula, table, path), np.float64), kept.shape)[kept]
            for name, formula in catalogue.columns
        }
    if not kept.any():
        raise DataError(f"{path}: none of {len(kept)} rows passes the catalogue's cuts")
    for name, numbers in found.items():
        low, high = DOMAINS[quantity(name)]
        _refuse(path, ~(np.isfinite(numbers) & inside(name, numbers)), f"{name} outside {low:g} … {high:g}", numbers)
    if {"e1", "e2"} <= catalogue.names:
        size = np.hypot(found["e1"], found["e2"])
        _refuse(path, ~(size < 1), "an ellipticity of 1 or more", size)
    shares = sum((numbers for name, numbers in found.items() if quantity(name) == "fraction"), np.zeros(kept.sum()))
    _refuse(path, shares > 1, "fractions that add up to more than 1", shares)
    return found


def value(formula: str, table: Mapping[str, np.ndarray], path: str) -> Any:
    """A formula of columns: numbers, + − * / **, comparisons, and sqrt, exp, log, log10, sin, cos, radians, abs.

    Raises:
        DataError: it has something else, or a column that the table does not have.
    """

    def of(node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.Name(id=name):
                if name not in table:
                    raise DataError(f"{path}: '{formula}': there is no column '{name}'; there are {', '.join(table)}")
                return table[name]
            case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]):
                if type(op) in _OPERATORS:
                    return _OPERATORS[type(op)](of(left), of(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -of(operand)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
                return _FUNCTIONS[name](of(argument))
        known = ", ".join(_FUNCTIONS)
        raise DataError(f"{path}: '{formula}': expected columns, numbers, + - * / **, one comparison, and {known}")

    try:
        return of(ast.parse(formula, mode="eval").body)
    except SyntaxError as error:
        raise DataError(f"{path}: '{formula}': is no formula: {error.msg}") from None
    except TypeError as error:
        raise DataError(f"{path}: '{formula}': cannot be computed: {error}") from None


def _columns(raw: bytes, path: str) -> dict[str, np.ndarray]:
    import pandas as pd

    if not path.lower().endswith(FORMATS):
        raise DataError(f"{path}: expected a table that ends in {' or '.join(FORMATS)}")
    try:
        frame = pd.read_csv(io.BytesIO(raw)) if path.lower().endswith(".csv") else pd.read_parquet(io.BytesIO(raw))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if not len(frame):
        raise DataError(f"{path}: the table has no rows")
    return {str(name): frame[name].to_numpy() for name in frame.columns}


def _refuse(path: str, wrong: np.ndarray, what: str, numbers: np.ndarray) -> None:
    if wrong.any():
        example = f"e.g. {numbers[wrong][0]:.4g}"
        raise DataError(f"{path}: {wrong.sum()} of {len(wrong)} rows have {what} ({example}); exclude them by a cut")
