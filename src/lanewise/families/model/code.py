"""The user's file with the model: which one it is, the identity of its code, and the function in it.

The identity covers the file and all that it imports from its own folder, without comments, docstrings and layout.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from lanewise.errors import Complaint, DataError, ManifestError
from lanewise.families.model import own_density
from lanewise.manifest import schema
from lanewise.manifest.document import Document
from lanewise.manifest.locations import beside

KEY = "model"
# Models of installed packages: name → module:function.
GROUP = "lanewise.models"


@dataclass(frozen=True)
class Code:
    """A function in a file.

    Attributes:
        path: of the file, absolute.
        function: its name in the file.
        sha256: of the code, see the module's docstring.
    """

    path: str
    function: str
    sha256: str


def resolve(manifest: Document) -> dict[str, str]:
    """The key `model` with the file's absolute path and the SHA-256 of its code.

    Raises:
        ManifestError: there is no such file or function, or the file is no Python.
    """
    value = manifest.value[KEY]
    if isinstance(value, Mapping):
        return {**value, "path": os.path.abspath(beside(manifest.source, value["path"]))}
    try:
        path, function = _named(value, manifest.source)
        return {"path": path, "function": function, "sha256": digest(path, function)}
    except _Wrong as error:
        raise ManifestError([manifest.complaint((KEY,), str(error), unreachable=error.unreachable)]) from None
    except SyntaxError as error:
        message = f"{error.msg}; Python cannot read this line"
        raise ManifestError([Complaint(str(error.filename), error.lineno or 0, "", message)]) from None


def parse(value: Mapping[str, str]) -> Code:
    """The resolved key `model`."""
    return Code(value["path"], value["function"], value["sha256"])


class _Wrong(Exception):
    """The key names no function."""

    def __init__(self, text: str, *, unreachable: bool = False) -> None:
        super().__init__(text)
        self.unreachable = unreachable


def _named(value: str, source: str) -> tuple[str, str]:
    """Path and function of `file.py:function`, or of the name of an entry point."""
    path, colon, function = value.rpartition(":")
    if colon and path.endswith(".py"):
        if "://" in path:
            raise _Wrong(f"expected a local file, got {path}; copy it beside the manifest")
        return os.path.abspath(beside(source, path)), function
    installed = {one.name: one for one in entry_points(group=GROUP)}
    if value not in installed:
        known = f", or one of {', '.join(sorted(installed))}" if installed else ""
        raise _Wrong(f"expected a file and a function, such as mymodel.py:model{known}, got '{value}'")
    spec = importlib.util.find_spec(installed[value].module)
    if spec is None or not spec.origin:
        raise _Wrong(f"the entry point {value} names the module {installed[value].module}, which is not installed")
    return spec.origin, installed[value].attr


def digest(path: str, function: str) -> str:
    """SHA-256 of a file's code, and of what it imports from its own folder.

    Raises:
        _Wrong: there is no such file, or it does not define the function at its top level.
        SyntaxError: the file, or one that it imports, is no Python.
    """
    trees = _trees(path)
    root = Path(path).resolve()
    if function not in (defined := sorted(_defined(trees[root]))):
        raise _Wrong(f"{path} has no '{function}' at its top level; {schema.nearest(function, defined)}")
    whole = hashlib.sha256()
    for file in sorted(trees):
        code = ast.unparse(_without_docstrings(trees[file]))
        whole.update(f"{file.relative_to(root.parent).as_posix()}\0{code}\0".encode())
    return whole.hexdigest()


def files(path: str) -> list[str]:
    """The file, and those of its own folder that it imports."""
    return sorted(map(str, _trees(path)))


def relative(path: str) -> dict[str, str]:
    """The same files by path, and their paths relative to the folder of the file; the file itself is the first."""
    folder = Path(path).resolve().parent
    others = {file: Path(file).relative_to(folder).as_posix() for file in files(path)}
    return {path: others.pop(str(Path(path).resolve())), **others}


def _trees(path: str) -> dict[Path, ast.Module]:
    """The syntax tree of the file, and of each that it imports from its own folder."""
    if not os.path.isfile(path):
        raise _Wrong(f"{path}: no such file; check the path", unreachable=True)
    root = Path(path).resolve()
    found: dict[Path, ast.Module] = {}
    left = [root]
    while left:
        file = left.pop()
        if file not in found:
            found[file] = ast.parse(file.read_bytes(), filename=str(file))
            left += _own_imports(found[file], file, root.parent)
    return found


def _defined(tree: ast.Module) -> Iterator[str]:
    """The names that a module has at its top level."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)


def _own_imports(tree: ast.Module, file: Path, folder: Path) -> Iterator[Path]:
    """The files below the folder that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _modules(folder, alias.name.split("."), folder)
        elif isinstance(node, ast.ImportFrom):
            base = folder if node.level == 0 else file.parents[node.level - 1]
            steps = node.module.split(".") if node.module else []
            yield from _modules(base, steps, folder)
            for alias in node.names:
                yield from _modules(base, [*steps, alias.name], folder)


def _modules(base: Path, steps: list[str], folder: Path) -> Iterator[Path]:
    """The file of a module, and of the packages that it is in."""
    for end in range(1, len(steps) + 1):
        place = base.joinpath(*steps[:end])
        for candidate in (place.with_suffix(".py"), place / "__init__.py"):
            if candidate.is_file() and candidate.resolve().is_relative_to(folder):
                yield candidate.resolve()


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return tree


@cache
def load(code: Code) -> Callable[..., Any]:
    """The function, or a model that has its density; its file is executed once per process and version.

    Raises:
        DataError: the code has changed since the campaign was planned, or the file cannot be executed.
    """
    try:
        now = digest(code.path, code.function)
    except (_Wrong, SyntaxError) as error:
        raise DataError(f"{code.path}: {error}") from None
    if now != code.sha256:
        raise DataError(f"{code.path}: has changed since the campaign was planned; run it from its manifest again")
    folder, own = str(Path(code.path).resolve().parent), set(files(code.path))
    # Another version of a module beside the file may be loaded already.
    for name, module in list(sys.modules.items()):
        if name != "__main__" and getattr(module, "__file__", None) in own:
            del sys.modules[name]
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(f"lanewise_model_{code.sha256[:16]}", code.path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises
        raise DataError(f"{place(error, code)}: {type(error).__name__}: {error}") from error
    function: Callable[..., Any] = getattr(module, code.function)
    return own_density.as_model(code.path, function, vars(module)) if own_density.is_density(function) else function


def place(error: BaseException, code: Code) -> str:
    """`file:line` of the innermost frame of an error that is in the user's folder; the file alone if there is none."""
    folder = Path(code.path).resolve().parent
    found, trace = code.path, error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if Path(file).is_absolute() and Path(file).resolve().parent == folder:
            found = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def site_place(code: Code, site: str) -> str:
    """`file:line` of the first call that names a site, such as numpyro.sample("a", …); the file if there is none."""
    for file, tree in sorted(_trees(code.path).items(), key=lambda one: str(one[0]) != code.path):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and any(isinstance(a, ast.Constant) and a.value == site for a in node.args):
                return f"{file}:{node.lineno}"
    return code.path
