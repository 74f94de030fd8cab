"""The model family: a NumPyro model of the user, inferred for every data set of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lanewise.engine.results import Result
from lanewise.errors import Complaint, DataError, ManifestError
from lanewise.families.model import code, datasets
from lanewise.families.model import config as model_config
from lanewise.families.model.config import ModelConfig
from lanewise.families.model.datasets import DATA, DataSet, Drawn
from lanewise.manifest import schema
from lanewise.manifest.document import Document, Path
from lanewise.manifest.family import Family, Lanes
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Planned, Single
from lanewise.manifest.problem import Data, LaneInference, Observation, Problem
from lanewise.manifest.protocols import Conclusion, Outputs
from lanewise.methods.ladders import LADDERS
from lanewise.storage import inputs
from lanewise.storage.record import Record

if TYPE_CHECKING:
    import pandas as pd


def check_extent(manifest: Document) -> Sequence[Complaint]:
    """Errors of `inputs` that the schema cannot express."""
    value, place = manifest.value[datasets.KEY], (datasets.KEY,)
    found = []
    if ("table" in value) == ("files" in value):
        text = "expected one of 'table' (one file of all data sets) and 'files' (one file each)"
        found.append(manifest.complaint(place, text))
    if "files" in value and "id" in value:
        found.append(
            manifest.complaint((*place, "id"), "a column of a table; files have their names as ids; remove it")
        )
    named = {role: datasets.pairs(value.get(role, ())) for role in ("columns", "scalars")}
    if not any(named.values()):
        found.append(
            manifest.complaint(place, "expected 'columns' or 'scalars', which the model gets as `data`; add one")
        )
    if "table" in value and named["columns"] and "id" not in value:
        text = (
            "expected 'id', the column that tells data sets apart; if each row is one, put its columns under 'scalars'"
        )
        found.append(manifest.complaint(place, text))
    names = [name for pairs in named.values() for name, _ in pairs]
    for name in sorted({name for name in names if names.count(name) > 1 or name == "mask"}):
        text = "lanewise gives it: False for rows that pad" if name == "mask" else "stands twice"
        found.append(manifest.complaint(place, f"the name '{name}': {text}; choose another"))
    return found


def resolve(manifest: Document) -> Mapping[str, Any]:
    """The manifest with code and data found and pinned to their content."""
    value = manifest.value[datasets.KEY]
    role = "table" if "table" in value else "files"
    found = inputs.resolve(manifest, (datasets.KEY, role))
    if role == "table" and len(found) > 1:
        text = f"expected one table, the pattern names {len(found)}; write files: for one file per data set"
        raise ManifestError([manifest.complaint((datasets.KEY, role), text)])
    return {
        **manifest.value,
        code.KEY: code.resolve(manifest),
        datasets.KEY: {**value, role: found[0] if role == "table" else found},
    }


def check_campaign(manifest: Manifest) -> Sequence[tuple[Path, str]]:
    """The table has the columns, and an id in every row; a calibration has draws to rank the truths among."""
    if datasets.extent_of(manifest).count and manifest.config.method == "map":
        message = "map leaves no draws to rank the truth among; use a method that samples, such as auto"
        return [(("inference", "method"), message)]
    if model_config.of(manifest).outputs.any and manifest.config.method == "map":
        return [((model_config.OUTPUTS,), "map leaves no draws; use a method that samples, such as auto")]
    try:
        for one in datasets.all_of(model_config.of(manifest).inputs):
            datasets.run_id(one.id)
    except DataError as error:
        return [((datasets.KEY,), str(error))]
    return ()


def trial(manifest: Manifest) -> Sequence[tuple[Path, str]]:
    """What a trace of the model on a few data sets shows."""
    from lanewise.families.model.trial import examine
    from lanewise.machine import device

    config = model_config.of(manifest)
    device.prepare("cpu" if manifest.resources.device == "cpu" else "auto", config.precision)
    try:
        density = examine(config)
    except DataError as error:
        return [((code.KEY,), str(error))]
    own, sites = dict(manifest.convergence.sites), [one.variable.name for one in density.latents]
    if unknown := [name for name in own if name not in sites]:
        message = f"the model has no latent '{unknown[0]}'; {schema.nearest(unknown[0], sites)}"
        return [(("convergence", "sites", unknown[0]), message)]
    if config.outputs.any and density.factors == density.observed.keys():
        message = "the model has factors only, and no log likelihood of a datum; write numpyro.sample(…, obs=…)"
        return [((model_config.OUTPUTS,), message)]
    if config.outputs.log_likelihood and density.summed:
        names = ", ".join(density.summed)
        message = f"the sum over {names} leaves no log likelihood of a datum; write the sum as MixtureSameFamily"
        return [((model_config.OUTPUTS, "log_likelihood"), message)]
    if not datasets.extent_of(manifest).count:
        return ()
    from lanewise.families.model import simulated

    return [((datasets.CALIBRATION,), text) for text in simulated.complaints(config)]


def remarks(manifest: Manifest) -> Sequence[str]:
    """A warning where every data set is a chunk of its own, which no lane shares."""
    n = len(datasets.all_of(model_config.of(manifest).inputs))
    if manifest.batch.size > 1 or n == 1:
        return ()
    return (f"batch.size is 1, so the {n} data sets are computed one after the other; write batch: {{size: 256}}",)


def realizations(manifest: Manifest) -> Sequence[Single]:
    """Every data set."""
    return tuple(datasets.realizations(datasets.extent_of(manifest)))


def no_extension(manifest: Manifest) -> str:
    """The remedy in place of `lanewise extend`."""
    return "kind model has no realizations to add; add data sets to its inputs, at the end"


def files_of_code(manifest: Manifest) -> Mapping[str, str]:
    """The model's file, and what it imports from its own folder; by path, their paths relative to that folder."""
    return code.relative(model_config.of(manifest).code.path)


def outputs() -> Outputs[Result]:
    """Posteriors in netCDF, diagnostics in JSON."""
    from lanewise.families.model import outputs as of_data_sets

    return of_data_sets


def collect(record: Record) -> pd.DataFrame:
    """The summary: one row per committed data set."""
    from lanewise.families.model import aggregate

    return aggregate.collect(record)


def conclude(record: Record) -> Conclusion:
    """Writes the summary and the report."""
    from lanewise.families.model import aggregate

    return aggregate.conclude(record)


def inference(config: ModelConfig) -> LaneInference:
    """Methods, settings and precision."""
    return config.inference.for_lanes


def observe(config: ModelConfig, planned: Planned) -> Observation:
    """The arrays of one data set, or of a simulated one."""
    assert isinstance(planned, Single)
    one = planned.sources[DATA]
    if isinstance(one, Drawn):
        from lanewise.families.model import simulated

        return simulated.observe(config, one, planned.seed)
    assert isinstance(one, DataSet)
    return datasets.observe(one)


def problem(config: ModelConfig) -> Problem:
    """The density of one data set."""
    from lanewise.families.model.problem import ModelProblem

    return ModelProblem(config)


def complete(config: ModelConfig, fits: Sequence[tuple[Result, Data]]) -> Sequence[Result]:
    """The results with the model's deterministic sites."""
    from lanewise.families.model.complete import complete as add

    return add(config, fits)


FAMILY: Family[ModelConfig, Result, Record] = Family(
    kind="model",
    # The schema of its keys is that of the manifest.
    config_schema={"type": "object"},
    config_inside=True,
    parse_config=model_config.parse,
    check_extent=check_extent,
    resolve=resolve,
    parse_extent=datasets.parse_extent,
    check_campaign=check_campaign,
    trial=trial,
    realizations=realizations,
    outputs=outputs,
    collect=collect,
    conclude=conclude,
    lanes=Lanes(inference=inference, observe=observe, problem=problem, complete=complete),
    no_extension=no_extension,
    remarks=remarks,
    code=files_of_code,
    ladders=LADDERS,
)
