"""`lanewise init` writes a first manifest; `lanewise run shear` carries one out without writing it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lanewise import errors
from lanewise.cli.options import SetOption, put
from lanewise.cli.runs import BatchIndexOption, ClusterOption, OverwriteOption, carry_out

if TYPE_CHECKING:
    from lanewise.manifest.document import Document

app = typer.Typer(help="Write a first manifest, with comments.", no_args_is_help=True, rich_markup_mode=None)

OutputOption = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="The manifest to write; default: standard output."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config", "--shine-config", metavar="FILE", help="Config of the scene; default: a galaxy at S/N 100."
    ),
]
ShearGridOption = Annotated[
    list[str] | None,
    typer.Option("--shear-grid", metavar="G1 …", help="True g1 values, e.g. --shear-grid 0.01 0.02 0.05."),
]
G1Option = Annotated[
    float | None, typer.Option("--g1-true", help="The true g1 where there is no --shear-grid.  [default: 0.0]")
]
G2Option = Annotated[float | None, typer.Option("--g2-true", help="The true g2 of all shears.  [default: 0.0]")]
PairedOption = Annotated[
    bool, typer.Option("--paired", help="Run each shear as +g and −g with one seed; most of the noise cancels.")
]
CountOption = Annotated[
    int | None, typer.Option("--n-realizations", help="Realizations per shear, or pairs.  [default: 1]")
]
SeedOption = Annotated[
    int | None, typer.Option("--base-seed", help="Seed of the first realization; the others follow.  [default: 42]")
]
BatchSizeOption = Annotated[
    int | None, typer.Option("--batch-size", help="Realizations per chunk, that is per container.  [default: 1]")
]
LevelOption = Annotated[str | None, typer.Option("--level", help="Acceptance level, e.g. level_0.")]
MaxMOption = Annotated[float | None, typer.Option("--max-abs-m", help="Requirement on |m|, e.g. 0.002.")]
OutputDirOption = Annotated[
    str | None,
    typer.Option("--output-dir", metavar="URL", help="Where results go: a path or URL.  [default: results/NAME]"),
]
NameOption = Annotated[str | None, typer.Option("--name", help="Name of the campaign.  [default: as --output-dir]")]


DrawsOption = Annotated[int | None, typer.Option("--n-realizations", help="Draws from the priors.  [default: 256]")]
ChunkOption = Annotated[
    int | None, typer.Option("--batch-size", help="Realizations per chunk, that is per container.  [default: 64]")
]
DataOption = Annotated[
    list[str], typer.Option("--data", metavar="FILE …", help="Data files: paths, patterns or URLs (HDF5, NPZ).")
]
FitConfigOption = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="Config of the fit; default: every default there is.")
]
MethodOption = Annotated[str | None, typer.Option("--method", help="nlsq, least squares.  [default: nlsq]")]
SweepOption = Annotated[
    list[str] | None,
    typer.Option("--sweep", metavar="PATH=V,V,…", help="Values of a config key, e.g. fit.seed=0,1,2; repeatable."),
]
FitNameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the campaign.  [default: as --output-dir, else as --config]")
]
TasksOption = Annotated[int | None, typer.Option("--batch-size", help="Fits per chunk, that is per container.")]


@app.command("shear", epilog="Example: lanewise init shear --shear-grid 0.01 0.02 0.05 --n-realizations 2 -o my.yaml")
def init_shear(
    config: ConfigOption = None,
    shear_grid: ShearGridOption = None,
    g1_true: G1Option = None,
    g2_true: G2Option = None,
    paired: PairedOption = False,
    n_realizations: CountOption = None,
    base_seed: SeedOption = None,
    batch_size: BatchSizeOption = None,
    level: LevelOption = None,
    max_abs_m: MaxMOption = None,
    output_dir: OutputDirOption = None,
    name: NameOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Images with a known shear: how far off is the inferred one?"""
    from lanewise.operations import starter

    flags = starter.ShearFlags(
        config=config,
        shear_grid=shear_grid,
        g1_true=g1_true,
        g2_true=g2_true,
        paired=paired or None,
        n_realizations=n_realizations,
        base_seed=base_seed,
        batch_size=batch_size,
        level=level,
        max_abs_m=max_abs_m,
        output_dir=output_dir,
        name=name,
    )
    _write(starter.shear(flags), output, force)


def run_shear(
    config: ConfigOption = None,
    shear_grid: ShearGridOption = None,
    g1_true: G1Option = None,
    g2_true: G2Option = None,
    paired: PairedOption = False,
    n_realizations: CountOption = None,
    base_seed: SeedOption = None,
    batch_size: BatchSizeOption = None,
    output_dir: OutputDirOption = None,
    name: NameOption = None,
    batch_index: BatchIndexOption = None,
    cluster: ClusterOption = False,
    overwrite: OverwriteOption = False,
    overrides: SetOption = None,
) -> None:
    """Carry out a shear campaign from flags alone; its manifest is kept with the results."""
    from lanewise.operations import starter

    flags = starter.ShearFlags(
        config=config,
        shear_grid=shear_grid,
        g1_true=g1_true,
        g2_true=g2_true,
        paired=paired or None,
        n_realizations=n_realizations,
        base_seed=base_seed,
        batch_size=batch_size,
        output_dir=output_dir,
        name=name,
    )
    carry_out(starter.shear(flags), batch_index, overrides, cluster=cluster, overwrite=overwrite)


@app.command("calibration", epilog="Example: lanewise init calibration --n-realizations 256 -o my.yaml")
def init_calibration(
    config: ConfigOption = None,
    n_realizations: DrawsOption = None,
    base_seed: SeedOption = None,
    batch_size: ChunkOption = None,
    output_dir: OutputDirOption = None,
    name: NameOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Truths drawn from the priors: do the posteriors hold them as often as they say?"""
    from lanewise.operations import starter

    flags = starter.CalibrationFlags(config, n_realizations, base_seed, batch_size, output_dir, name)
    _write(starter.calibration(flags), output, force)


def run_calibration(
    config: ConfigOption = None,
    n_realizations: DrawsOption = None,
    base_seed: SeedOption = None,
    batch_size: ChunkOption = None,
    output_dir: OutputDirOption = None,
    name: NameOption = None,
    batch_index: BatchIndexOption = None,
    cluster: ClusterOption = False,
    overwrite: OverwriteOption = False,
    overrides: SetOption = None,
) -> None:
    """Carry out a calibration campaign from flags alone; its manifest is kept with the results."""
    from lanewise.operations import starter

    flags = starter.CalibrationFlags(config, n_realizations, base_seed, batch_size, output_dir, name)
    carry_out(starter.calibration(flags), batch_index, overrides, cluster=cluster, overwrite=overwrite)


@app.command(
    "heterodyne", epilog="Example: lanewise init heterodyne --data data/*.h5 --sweep fit.seed=0,1,2 -o my.yaml"
)
def init_heterodyne(
    data: DataOption,
    config: FitConfigOption = None,
    method: MethodOption = None,
    sweep: SweepOption = None,
    batch_size: TasksOption = None,
    output_dir: OutputDirOption = None,
    name: FitNameOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Two-time correlations (XPCS): fits over files and a sweep of settings."""
    from lanewise.operations import starter

    flags = starter.HeterodyneFlags(data, config, method, sweep, batch_size, output_dir, name)
    _write(starter.heterodyne(flags), output, force)


def run_heterodyne(
    data: DataOption,
    config: FitConfigOption = None,
    method: MethodOption = None,
    sweep: SweepOption = None,
    batch_size: TasksOption = None,
    output_dir: OutputDirOption = None,
    name: FitNameOption = None,
    batch_index: BatchIndexOption = None,
    cluster: ClusterOption = False,
    overwrite: OverwriteOption = False,
    overrides: SetOption = None,
) -> None:
    """Fit data files from flags alone; the manifest is kept with the results."""
    from lanewise.operations import starter

    flags = starter.HeterodyneFlags(data, config, method, sweep, batch_size, output_dir, name)
    carry_out(starter.heterodyne(flags), batch_index, overrides, cluster=cluster, overwrite=overwrite)


def _write(manifest: Document, output: str | None, force: bool) -> None:
    from lanewise import api
    from lanewise.operations import starter

    # Validated before it is written: what `init` writes, `run` takes.
    api.load(manifest)
    content = starter.text(manifest, output)
    if output is None:
        print(content, end="")
        return
    if "://" not in output and Path(output).exists() and not force:
        raise errors.UsageError(f"{output}: is there already; --force replaces it")
    put(output, content.encode())
    print(f"{output}: written; next: lanewise plan {output}, then lanewise run {output}")
