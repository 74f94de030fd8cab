"""`lanewise init calibration` and `lanewise run calibration`: a manifest from flags."""

from __future__ import annotations

from typing import Annotated

import typer

from lanewise.families.shear.starter import SCENE, ConfigOption, NameOption, OutputDirOption, SeedOption
from lanewise.manifest.document import Document
from lanewise.manifest.family import Starter


def manifest(
    config: ConfigOption = None,
    n_realizations: Annotated[int, typer.Option("--n-realizations", help="Draws from the priors.")] = 640,
    base_seed: SeedOption = 42,
    batch_size: Annotated[
        int, typer.Option("--batch-size", help="Realizations per chunk, that is per container.")
    ] = 64,
    output_dir: OutputDirOption = None,
    name: NameOption = None,
) -> Document:
    """Truths drawn from the priors: are the posteriors calibrated?"""
    from lanewise.operations import starter

    doc = starter.new("calibration", name, output_dir)
    return starter.given(
        doc,
        (
            (("config",), config or SCENE, "--config" if config else doc.source),
            (("realizations", "count"), n_realizations, "--n-realizations"),
            (("realizations", "base_seed"), base_seed, "--base-seed"),
            (("batch", "size"), batch_size, "--batch-size"),
        ),
    )


STARTER = Starter(manifest, example="lanewise init calibration --n-realizations 640 -o my.yaml")
