"""`lanewise init shear` and `lanewise run shear`: a manifest from flags."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lanewise.errors import UsageError
from lanewise.manifest.document import Document
from lanewise.manifest.family import Starter

# What a first campaign runs on if no config is named: one galaxy at S/N 100, and priors on g that the data outweigh.
SCENE: dict[str, Any] = {
    "image": {"pixel_scale": 0.263, "size_x": 48, "size_y": 48, "noise": {"type": "Gaussian", "sigma": 1.2e-3}},
    "psf": {"type": "Gaussian", "sigma": 0.382},
    "gal": {
        "type": "Exponential",
        "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
        "half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.1},
        "shear": {
            "type": "G1G2",
            "g1": {"type": "Normal", "mean": 0.0, "sigma": 0.2},
            "g2": {"type": "Normal", "mean": 0.0, "sigma": 0.2},
        },
    },
    "inference": {"method": "auto", "nuts_config": {"samples": 500, "chains": 4}},
}

# A first campaign, where no flag names a shear or a config: so many ±g pairs that σ_m is a sixth of the bound.
FIRST_GRID, FIRST_COUNT, FIRST_BATCH, FIRST_MAX_ABS_M = (0.02, 0.05), 256, 64, 0.01

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config", "--shine-config", metavar="FILE", help="Config of the scene; default: a galaxy at S/N 100."
    ),
]
SeedOption = Annotated[int, typer.Option("--base-seed", help="Seed of the first realization; the others follow.")]
OutputDirOption = Annotated[
    str | None,
    typer.Option("--output-dir", metavar="URL", help="Where results go: a path or URL.  [default: results/NAME]"),
]
NameOption = Annotated[str | None, typer.Option("--name", help="Name of the campaign.  [default: as --output-dir]")]


def manifest(
    config: ConfigOption = None,
    shear_grid: Annotated[
        list[str] | None,
        typer.Option("--shear-grid", metavar="G1 …", help="True g1 values, e.g. --shear-grid 0.01 0.02 0.05."),
    ] = None,
    g1_true: Annotated[
        float | None, typer.Option("--g1-true", help="The true g1 where there is no --shear-grid.  [default: 0.0]")
    ] = None,
    g2_true: Annotated[float, typer.Option("--g2-true", help="The true g2 of all shears.")] = 0.0,
    paired: Annotated[
        bool, typer.Option("--paired", help="Run each shear as +g and −g with one seed; most of the noise cancels.")
    ] = False,
    n_realizations: Annotated[
        int | None,
        typer.Option("--n-realizations", help=f"Realizations per shear, or pairs.  [default: 1; first: {FIRST_COUNT}]"),
    ] = None,
    base_seed: SeedOption = 42,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", help=f"Realizations per chunk, that is per container.  [default: 1; first: {FIRST_BATCH}]"
        ),
    ] = None,
    level: Annotated[str | None, typer.Option("--level", help="Acceptance level, e.g. level_0.")] = None,
    max_abs_m: Annotated[float | None, typer.Option("--max-abs-m", help="Requirement on |m|, e.g. 0.002.")] = None,
    output_dir: OutputDirOption = None,
    name: NameOption = None,
) -> Document:
    """Images with a known shear: how far off is the inferred one?

    Without --config, --shear-grid and --g1-true: a first campaign of ±g pairs with a bound on |m|, which ends in PASS
    or FAIL.
    """
    from lanewise.operations import starter

    if shear_grid and g1_true is not None:
        raise UsageError("--g1-true is the one shear of a campaign without --shear-grid; give one of the two")
    first = not shear_grid and g1_true is None and config is None
    if first:
        grid, paired = list(FIRST_GRID), True
        if level is None and max_abs_m is None:
            max_abs_m = FIRST_MAX_ABS_M
    else:
        grid = starter.numbers("--shear-grid", shear_grid) if shear_grid else [g1_true or 0.0]
    count = n_realizations if n_realizations is not None else FIRST_COUNT if first else 1
    size = batch_size if batch_size is not None else FIRST_BATCH if first else 1
    doc = starter.new("shear", name, output_dir)
    return starter.given(
        doc,
        (
            (("config",), config or SCENE, "--config" if config else doc.source),
            (("shear", "grid"), grid, "--shear-grid" if shear_grid else "--g1-true"),
            (("shear", "g2"), g2_true, "--g2-true"),
            (("shear", "paired"), paired or None, "--paired"),
            (("realizations", "count"), count, "--n-realizations"),
            (("realizations", "base_seed"), base_seed, "--base-seed"),
            (("batch", "size"), size, "--batch-size"),
            (("acceptance", "level"), level, "--level"),
            (("acceptance", "max_abs_m"), max_abs_m, "--max-abs-m"),
        ),
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


STARTER = Starter(
    manifest,
    example="lanewise init shear --shear-grid 0.01 0.02 0.05 --n-realizations 2 -o my.yaml",
    several={"--shear-grid": _is_number},
)
