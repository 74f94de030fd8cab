"""What a family of campaigns gives to the rest: one `Door` in the entry-point group `lanewise.families`.

The door is what the command line needs, and costs nothing to import. Behind it is the `Family`: functions that read
the config, list the realizations, compute and store them, and draw conclusions. A family imports JAX only where it
computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lanewise.errors import Complaint, LanewiseError
from lanewise.manifest.document import Document, Path
from lanewise.manifest.manifest import Config, Manifest, Rung
from lanewise.manifest.plan import Planned
from lanewise.manifest.problem import LaneInference, Observation, Problem
from lanewise.manifest.protocols import AnyResult, Conclusion, Forecast, Outputs, Solver

if TYPE_CHECKING:
    import pandas as pd
    from _typeshed import DataclassInstance

ConfigT = TypeVar("ConfigT", bound=Config)
ResultT = TypeVar("ResultT", bound=AnyResult)
SettingsT = TypeVar("SettingsT", bound="DataclassInstance")
# What storage says of a campaign, `storage.record.Record`: this floor lies below it and cannot name it.
RecordT = TypeVar("RecordT")
Ladder = tuple[Rung, ...]


@dataclass(frozen=True)
class Lanes(Generic[ConfigT]):
    """How the engine infers a realization of the family.

    Attributes:
        inference: methods, settings and precision of a config.
        observe: simulates or reads one realization's data.
        problem: the density that all realizations of a campaign share.
    """

    inference: Callable[[ConfigT], LaneInference]
    observe: Callable[[ConfigT, Planned], Observation]
    problem: Callable[[ConfigT], Problem]


def _nothing(_: Document | Manifest) -> tuple[()]:
    return ()


def _as_it_stands(document: Document) -> Mapping[str, Any]:
    value: Mapping[str, Any] = document.value
    return value


def _of_lanes(manifest: Manifest) -> Mapping[str, Any]:
    convergence = vars(manifest.convergence)
    return {"config": manifest.config.content, "convergence": convergence, "width": manifest.batch.width}


def _no_extent(_: Mapping[str, Any]) -> None:
    return None


def _can_be_extended(_: Manifest) -> str:
    return ""


@dataclass(frozen=True)
class Family(Generic[ConfigT, ResultT, RecordT]):
    """One kind of campaign. What has a default is for families that need it.

    Attributes:
        kind: its name, the manifest's `kind` and the name of its entry point.
        config_schema: JSON Schema of its config.
        parse_config: a checked and resolved config as frozen types.
        realizations: every realization of the campaign, in order.
        outputs: how results are stored.
        collect: the summary, one row per committed realization.
        conclude: writes summary, statistics and report of what is committed; always ends in a report.
        settings: what all realizations share, JSON-ready: part of identities, and what a refusal can name. By default
            config, thresholds and lane width.
        lanes: for a family whose realizations the engine infers; the others have a `solver`, which may raise
            MachineError where this machine lacks the device that the manifest requires.
        check_config: everything that is wrong with the config; by default what its schema says.
        resolve_config: the config with every file that it names found and pinned to its content.
        check_extent: what the schema cannot say of the keys that are its own.
        resolve: the manifest with every file found and pinned; the config is inlined by the caller. May raise
            ManifestError.
        parse_extent: what the campaign runs over, from a resolved manifest; `Manifest.extent`.
        check_campaign: what is wrong between manifest and config: where in the manifest, and the complaint.
        remarks: what a user should know of a campaign that is valid: keys without effect, a degenerate posterior.
        no_extension: what a user does in place of `lanewise extend`; empty for a campaign that can be extended.
        ladders: method → what `lanewise retry` tries with a realization that did not converge.
        forecast: the realizations that an error of the result needs, from what is committed (`plan --target-sigma-m`).
        keys: JSON Schema of the manifest's keys that are its own: `properties`, `required`, `definitions`. Those of
            lanewise's own families stand in schemas/manifest.schema.json, which editors read.
        figures: draws a figure of every realization (`aggregate --figures`); yields a path, or why there is none.
    """

    kind: str
    config_schema: Mapping[str, Any]
    parse_config: Callable[[Mapping[str, Any]], ConfigT]
    realizations: Callable[[Manifest], Sequence[Planned]]
    outputs: Callable[[], Outputs[ResultT]]
    collect: Callable[[RecordT], pd.DataFrame]
    conclude: Callable[[RecordT], Conclusion]
    settings: Callable[[Manifest], Mapping[str, Any]] = _of_lanes
    lanes: Lanes[ConfigT] | None = None
    solver: Callable[[Manifest], Solver] | None = None
    check_config: Callable[[Document], Sequence[Complaint]] | None = None
    resolve_config: Callable[[Document], Mapping[str, Any]] = _as_it_stands
    check_extent: Callable[[Document], Sequence[Complaint]] = _nothing
    resolve: Callable[[Document], Mapping[str, Any]] = _as_it_stands
    parse_extent: Callable[[Mapping[str, Any]], object] = _no_extent
    check_campaign: Callable[[Manifest], Sequence[tuple[Path, str]]] = _nothing
    remarks: Callable[[Manifest], Sequence[str]] = _nothing
    no_extension: Callable[[Manifest], str] = _can_be_extended
    ladders: Mapping[str, Ladder] = field(default_factory=dict)
    keys: Mapping[str, Any] = field(default_factory=dict)
    forecast: Callable[[RecordT, float], Sequence[Forecast]] | None = None
    figures: Callable[[RecordT], Iterator[str | LanewiseError]] | None = None


# What is behind an entry point is not known to a type checker.
AnyFamily = Family[Any, Any, Any]


@dataclass(frozen=True)
class Starter:
    """Makes a first manifest from flags: of `lanewise init KIND`, and of `lanewise run KIND`, which carries it out.

    Attributes:
        manifest: its parameters are the flags, annotated for typer; its docstring is the help.
        example: a command line.
        several: flags that take several values one after the other, and what is a value.
        paths: keys of the manifest that hold lists of paths, as seen from the working directory.
    """

    manifest: Callable[..., Document]
    example: str
    several: Mapping[str, Callable[[str], bool]] = field(default_factory=dict)
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Door:
    """The entry point of a family. Importing its module must not import NumPy, so that `lanewise --help` is quick.

    Attributes:
        kind: as `Family.kind`.
        load: imports the family.
        starter: imports the starter of `lanewise init KIND` and `lanewise run KIND`.
        simulator: imports the command `lanewise simulate KIND`, a function as typer takes it.
        commands: name → function, as typer takes it, of commands that no other family has.
    """

    kind: str
    load: Callable[[], AnyFamily]
    starter: Callable[[], Starter] | None = None
    simulator: Callable[[], Callable[..., None]] | None = None
    commands: Mapping[str, Callable[..., None]] = field(default_factory=dict)


def climbed(settings: SettingsT, rung: Rung) -> SettingsT:
    """A method's settings with a rung's change."""
    changes: dict[str, Any] = {name: getattr(settings, name) * factor for name, factor in rung.times.items()}
    changes |= {name: max(getattr(settings, name), value) for name, value in rung.values.items()}
    return replace(settings, **changes)
