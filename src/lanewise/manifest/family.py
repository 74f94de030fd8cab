"""The interface of a family of campaigns: a `Door` in the entry-point group `lanewise.families`.

The command line needs only the door, which is quick to import. The door loads the `Family`: functions that read the
config, list the realizations, compute and store them, and conclude. A family imports JAX only where it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lanewise.errors import Complaint, LanewiseError
from lanewise.manifest.document import Document, Path
from lanewise.manifest.manifest import Config, Convergence, Manifest, Rung
from lanewise.manifest.plan import Chunk, Planned
from lanewise.manifest.problem import Data, LaneInference, Membership, Observation, Problem
from lanewise.manifest.protocols import AnyResult, Conclusion, Forecast, Needs, Outputs, Solver

if TYPE_CHECKING:
    import pandas as pd
    from _typeshed import DataclassInstance

ConfigT = TypeVar("ConfigT", bound=Config)
ResultT = TypeVar("ResultT", bound=AnyResult)
SettingsT = TypeVar("SettingsT", bound="DataclassInstance")
# `storage.record.Record`: that room is above this one, which therefore cannot import it.
RecordT = TypeVar("RecordT")
Ladder = tuple[Rung, ...]


def _one_member(_: object) -> None:
    return None


@dataclass(frozen=True)
class Lanes(Generic[ConfigT, ResultT]):
    """How the engine infers a realization of the family.

    Attributes:
        inference: methods, settings and precision of a config.
        observe: simulates or reads one realization's data.
        problem: the density, the same for all members and realizations of a campaign.
        membership: how realizations of several members end; None: each has one member, whose result is its own.
        complete: adds to a chunk's results with draws what follows from them, e.g. functions of the latents. It gets
            each with the prepared arrays of its data. None: nothing is added. Without effect where there is a
            membership.
        judge: of a chunk's results with draws, each with its data as observed: whether the model describes the data.
            It gets the problem and the manifest's thresholds. None: not judged. Without effect as above.
        shaped: the config for data with an `Observation.shape`; its problem has the same latents. None: the campaign's.
    """

    inference: Callable[[ConfigT], LaneInference]
    observe: Callable[[ConfigT, Planned], Observation]
    problem: Callable[[ConfigT], Problem]
    membership: Callable[[ConfigT], Membership[ConfigT, ResultT] | None] = _one_member
    complete: Callable[[ConfigT, Sequence[tuple[ResultT, Data]]], Sequence[ResultT]] | None = None
    judge: Callable[[Problem, Sequence[tuple[ResultT, Data]], Convergence], Sequence[ResultT]] | None = None
    shaped: Callable[[ConfigT, tuple[int, ...]], ConfigT] | None = None


def _nothing(_: object) -> tuple[()]:
    return ()


def _as_it_stands(document: Document) -> Mapping[str, Any]:
    value: Mapping[str, Any] = document.value
    return value


def _of_lanes(manifest: Manifest) -> Mapping[str, Any]:
    convergence = manifest.convergence.content
    return {"config": manifest.config.content, "convergence": convergence, "width": manifest.batch.width}


def _no_code(_: Manifest) -> Mapping[str, str]:
    return {}


def _can_be_extended(_: Manifest) -> str:
    return ""


@dataclass(frozen=True)
class Family(Generic[ConfigT, ResultT, RecordT]):
    """One kind of campaign. Fields with a default are optional.

    Attributes:
        kind: its name, the manifest's `kind` and the name of its entry point.
        config_schema: JSON Schema of its config.
        parse_config: a checked and resolved config as frozen types.
        realizations: every realization of the campaign, in order: a list, or a `Computed` with a rule, whose start
            costs the same in every campaign. Seeds of a `Computed` never fall: an extension continues after the last
            one. Its run ids must be unique; those of a list are checked.
        outputs: how results are stored.
        collect: the summary, one row per committed realization.
        conclude: writes summary, statistics and report of the committed realizations; also if some are missing.
        settings: settings that all realizations share, JSON-ready; part of the identities. Default: config,
            convergence thresholds and width.
        lanes: for a family whose realizations the engine infers. Other families have a `solver`, which raises
            MachineError if this machine lacks the device that the manifest requires.
        needs: memory and time of a chunk, for a family with a solver; None if they cannot be predicted.
        check_config: all complaints about the config; default: those of its schema.
        resolve_config: the config with its files found and pinned to their content.
        config_inside: there is no key `config`: the config is in the family's own keys, and `parse_config` gets the
            resolved manifest.
        check_extent: complaints about the family's own keys that the schema cannot express.
        resolve: the manifest with its files found and pinned; the caller inlines the config. May raise ManifestError.
        parse_extent: `Manifest.extent` from a resolved manifest.
        check_campaign: contradictions between manifest and config, as (path in the manifest, complaint) pairs.
        trial: complaints that only a trial of the density can find, as (path in the manifest, complaint) pairs; it may
            import JAX. `validate`, `plan` and `run` ask for it.
        remarks: warnings about a valid manifest: keys without effect, a degenerate posterior.
        no_extension: what to do instead of `lanewise extend`; empty if the campaign can be extended.
        ladders: method → changes that `lanewise retry` tries for a realization that did not converge.
        forecast: predicts the number of realizations that a standard error needs (`plan --target-sigma-m`).
        keys: JSON Schema of the family's own keys in the manifest: `properties`, `required`, `definitions`. Those of
            lanewise's own families are in schemas/manifest.schema.json, which editors read.
        code: files of the user's code that a campaign needs: path on this machine → path relative to their folder.
            `render kubernetes` mounts them where the pods do not have them.
        figures: draws a figure of every realization (`aggregate --figures`); yields its path, or the error.
    """

    kind: str
    config_schema: Mapping[str, Any]
    parse_config: Callable[[Mapping[str, Any]], ConfigT]
    realizations: Callable[[Manifest], Sequence[Planned]]
    outputs: Callable[[], Outputs[ResultT]]
    collect: Callable[[RecordT], pd.DataFrame]
    conclude: Callable[[RecordT], Conclusion]
    settings: Callable[[Manifest], Mapping[str, Any]] = _of_lanes
    lanes: Lanes[ConfigT, ResultT] | None = None
    solver: Callable[[Manifest], Solver] | None = None
    needs: Callable[[Manifest, Chunk], Needs | None] | None = None
    check_config: Callable[[Document], Sequence[Complaint]] | None = None
    resolve_config: Callable[[Document], Mapping[str, Any]] = _as_it_stands
    config_inside: bool = False
    check_extent: Callable[[Document], Sequence[Complaint]] = _nothing
    resolve: Callable[[Document], Mapping[str, Any]] = _as_it_stands
    parse_extent: Callable[[Mapping[str, Any]], object] = _nothing
    check_campaign: Callable[[Manifest], Sequence[tuple[Path, str]]] = _nothing
    trial: Callable[[Manifest], Sequence[tuple[Path, str]]] = _nothing
    remarks: Callable[[Manifest], Sequence[str]] = _nothing
    no_extension: Callable[[Manifest], str] = _can_be_extended
    ladders: Mapping[str, Ladder] = field(default_factory=dict)
    keys: Mapping[str, Any] = field(default_factory=dict)
    forecast: Callable[[RecordT, float], Sequence[Forecast]] | None = None
    figures: Callable[[RecordT], Iterator[str | LanewiseError]] | None = None
    code: Callable[[Manifest], Mapping[str, str]] = _no_code


# A type checker cannot know the type behind an entry point.
AnyFamily = Family[Any, Any, Any]


def _no_files(_: Document) -> Mapping[str, bytes]:
    return {}


@dataclass(frozen=True)
class Starter:
    """Makes a first manifest from flags, for `lanewise init KIND` and `lanewise run KIND`.

    Attributes:
        manifest: returns the manifest; its parameters are the flags, annotated for typer; its docstring is the help.
        example: a command line.
        several: flag → whether a word is one of its values, for flags that take several words.
        paths: dotted keys of the manifest with a path, or a list of paths, which the flags give relative to the
            working directory.
        single: whether `lanewise run KIND`, outside a cluster, ends with NoResult if an input cannot be reached or all
            realizations failed; else it ends as `lanewise run MANIFEST`.
        beside: files that a manifest names and that `lanewise init` writes where they are missing: path, relative to
            the working directory → content.
    """

    manifest: Callable[..., Document]
    example: str
    several: Mapping[str, Callable[[str], bool]] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    single: bool = False
    beside: Callable[[Document], Mapping[str, bytes]] = _no_files


@dataclass(frozen=True)
class Door:
    """The entry point of a family. Importing its module must not import NumPy, so that `lanewise --help` is quick.

    Attributes:
        kind: as `Family.kind`.
        load: imports the family.
        starter: imports the starter of `lanewise init KIND` and `lanewise run KIND`.
        simulator: imports the command `lanewise simulate KIND`, a function as typer takes it.
        commands: name → function, as typer takes it; commands that only this family has.
    """

    kind: str
    load: Callable[[], AnyFamily]
    starter: Callable[[], Starter] | None = None
    simulator: Callable[[], Callable[..., None]] | None = None
    commands: Mapping[str, Callable[..., None]] = field(default_factory=dict)


def climbed(settings: SettingsT, rung: Rung) -> SettingsT:
    """A method's settings with the changes of a rung."""
    changes: dict[str, Any] = {name: getattr(settings, name) * factor for name, factor in rung.times.items()}
    changes |= {name: max(getattr(settings, name), value) for name, value in rung.values.items()}
    return replace(settings, **changes)
