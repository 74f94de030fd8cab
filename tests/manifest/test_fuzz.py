"""Manifests as nobody would write them: each is accepted or refused in words, never with a traceback."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import MANIFEST, SCENE
from lanewise import api
from lanewise.errors import LanewiseError
from lanewise.manifest import yaml_text

MANIFESTS = {
    "shear": MANIFEST,
    "calibration": {
        **{key: part for key, part in MANIFEST.items() if key != "shear"},
        "kind": "calibration",
        "config": {**SCENE, "inference": {"method": "nuts"}},
        "acceptance": {"rank_p_min": 0.01},
    },
    "heterodyne": {
        "apiVersion": "lanewise/v1",
        "kind": "heterodyne",
        "name": "test",
        "inputs": [{"path": "x.h5", "sha256": "a" * 64}],
        "config": {
            "data": {"q": 0.1, "phi": [1, 2], "dt": 0.1},
            "parameters": {"phi0": 2.0, "v0": {"min": 1, "max": 5}},
            "fit": {"starts": 8},
        },
        "sweep": {"grid": {"data.start_frame": [1, 2], "fit.seed": [0, 1], "parameters.v0": [{"min": 1}, 2]}},
        "batch": {"size": 2},
        "output": {"url": "x"},
    },
}
_QUICK, _THOROUGH = 100, 2500
_KEYS = st.one_of(
    st.sampled_from(["type", "sigma", "mean", "grid", "points", "count", "size", "index", "url", "g1", "n", "file"]),
    st.text(max_size=6),
    st.integers(),
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [0, -1, 1, 1e-300, 1e300, 2**40, 10**400, "1e-3", "Normal", "Uniform", "Sersic", "nuts", "gpu", "a/b"]
    ),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_KEYS, inner, max_size=4)),
    max_leaves=8,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(value, Mapping):
        return [path]
    return [path, *(found for key, part in value.items() for found in _paths(part, (*path, key)))]


@st.composite
def _mutated(draw: st.DrawFn, base: Mapping[str, Any]) -> Any:
    """A valid manifest in which some values were replaced, removed or joined by unknown neighbours."""
    content: Any = copy.deepcopy(base)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_paths(content)))
        if not path:
            continue
        node = content
        for key in path[:-1]:
            node = node[key]
        match draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                node[path[-1]] = draw(_VALUES)
            case "remove":
                del node[path[-1]]
            case "add":
                node[draw(_KEYS)] = draw(_VALUES)
    return content


def _check(text: str) -> None:
    code, said = _load(text)
    assert code in {0, 64, 65}
    assert said.strip()


def _load(text: str) -> tuple[int, str]:
    """Exit code, and what a user would read."""
    try:
        api.load(yaml_text.parse(text, "fuzzed"))
    except LanewiseError as error:
        return error.exit_code, str(error)
    return 0, "valid"


def _fuzz(n: int, base: Mapping[str, Any]) -> None:
    """`n` mutated values and as many mutated texts."""
    common = settings(max_examples=n, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

    @common
    @given(_mutated(base))
    def values(content: Any) -> None:
        _check(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    @common
    @given(st.data())
    def texts(data: st.DataObject) -> None:
        text = yaml.safe_dump(base, sort_keys=False)
        at = data.draw(st.integers(0, len(text)))
        until = data.draw(st.integers(at, min(at + 20, len(text))))
        _check(text[:at] + data.draw(st.text(max_size=6)) + text[until:])

    values()
    texts()


@pytest.mark.long
@pytest.mark.parametrize("kind", MANIFESTS)
def test_no_manifest_ends_in_a_traceback(kind: str) -> None:
    _fuzz(_QUICK, MANIFESTS[kind])


@pytest.mark.slow
@pytest.mark.parametrize("kind", MANIFESTS)
def test_no_manifest_of_thousands_ends_in_a_traceback(kind: str) -> None:
    _fuzz(_THOROUGH, MANIFESTS[kind])
