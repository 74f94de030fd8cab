"""The config of a model campaign: the manifest's keys `model`, `inputs` and `inference`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lanewise.families.model import code, datasets
from lanewise.families.model.code import Code
from lanewise.families.model.datasets import Inputs
from lanewise.manifest import typed
from lanewise.manifest.manifest import Manifest, Rung
from lanewise.methods.inference import SETTINGS, Inference

OUTPUTS = "outputs"
# R̂ needs several chains, and nobody has looked at the geometry of these posteriors before.
_NUTS = {"warmup": 500, "samples": 500, "chains": 4, "max_tree_depth": 10}


@dataclass(frozen=True)
class Outputs:
    """What posterior.nc holds besides the posterior.

    Attributes:
        log_likelihood: of every datum and draw, and PSIS-LOO.
        posterior_predictive: data drawn at every draw.
    """

    log_likelihood: bool = False
    posterior_predictive: bool = False

    @property
    def any(self) -> bool:
        """Whether something is asked for."""
        return self.log_likelihood or self.posterior_predictive


@dataclass(frozen=True)
class ModelConfig:
    """A parsed config."""

    code: Code
    inputs: Inputs
    inference: Inference
    outputs: Outputs = Outputs()

    @property
    def method(self) -> str:
        """The inference method's name."""
        return self.inference.method

    @property
    def precision(self) -> str:
        """`float32` or `float64`."""
        return self.inference.precision

    def climbed(self, rung: Rung) -> ModelConfig:
        """With another method, or with other settings of its method."""
        return replace(self, inference=self.inference.climbed(rung))

    @property
    def content(self) -> Mapping[str, Any]:
        """The code, the names and types of the data, and every setting; not where code and data lie."""
        whole = datasets.whole(self.inputs)
        return {
            "model": {"function": self.code.function, "sha256": self.code.sha256},
            "data": {name: "integer" if name in whole else "number" for name in sorted(self.inputs.names)},
            "columns": sorted(name for name, _ in self.inputs.columns),
            "padding": self.inputs.padding,
            "max_rows": self.inputs.max_rows,
            "inference": self.inference.content,
            # Only where something is asked for: other campaigns keep their identities.
            **({"outputs": vars(self.outputs)} if self.outputs.any else {}),
        }


def of(manifest: Manifest) -> ModelConfig:
    """The config of a campaign of kind model."""
    assert isinstance(manifest.config, ModelConfig)
    return manifest.config


def parse(value: Mapping[str, Any]) -> ModelConfig:
    """The config of a resolved manifest."""
    given = value.get("inference", {})
    settings = {name: dict(given.get(f"{name}_config", {})) for name in SETTINGS}
    settings["nuts"] = {**_NUTS, **settings["nuts"]}
    inference = Inference(
        method=given.get("method", "auto"),
        **{key: given[key] for key in ("precision", "rng_seed") if key in given},
        **{name: typed.build(kind, settings[name]) for name, kind in SETTINGS.items()},
    )
    outputs = typed.build(Outputs, value.get(OUTPUTS, {}))
    return ModelConfig(code.parse(value[code.KEY]), datasets.parse(value[datasets.KEY]), inference, outputs)
