"""`lanewise init model` and `lanewise run model`: a manifest from flags."""

from __future__ import annotations

from typing import Annotated

import typer

from lanewise.families.model import first
from lanewise.manifest.document import Document
from lanewise.manifest.family import Starter


def manifest(
    model: Annotated[
        str | None, typer.Option("--model", metavar="FILE:FUNCTION", help="The model.  [default: a first one]")
    ] = None,
    table: Annotated[
        str | None, typer.Option("--table", metavar="FILE", help="The data sets.  [default: simulated ones]")
    ] = None,
    id: Annotated[str | None, typer.Option("--id", help="Column that tells data sets apart.")] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--columns", metavar="NAME …", help="Columns with one value per row.")
    ] = None,
    scalars: Annotated[
        list[str] | None, typer.Option("--scalars", metavar="NAME …", help="Columns with one value per data set.")
    ] = None,
    method: Annotated[str, typer.Option("--method", help="Inference method.")] = "auto",
    batch_size: Annotated[int, typer.Option("--batch-size", help="Data sets per chunk, that is per container.")] = 256,
    output_dir: Annotated[
        str | None,
        typer.Option("--output-dir", metavar="URL", help="Where results go: a path or URL.  [default: results/NAME]"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the campaign.  [default: as --output-dir]")
    ] = None,
) -> Document:
    """A NumPyro model of your own over a table of data sets.

    Without --model and --table, a first example.
    """
    from lanewise.operations import starter

    doc = starter.new("model", name, output_dir)
    by_hand = model is not None or table is not None
    inputs = {
        "table": table or first.TABLE,
        "id": id if by_hand else first.ID,
        "columns": columns if by_hand else list(first.COLUMNS),
        "scalars": scalars,
    }
    return starter.given(
        doc,
        (
            (("model",), model or first.MODEL, "--model"),
            (("inputs",), {key: part for key, part in inputs.items() if part}, "--table"),
            (("inference", "method"), method, "--method"),
            (("batch", "size"), batch_size, "--batch-size"),
        ),
    )


STARTER = Starter(
    manifest,
    example="lanewise init model --model mymodel.py:model --table stars.csv --id star --columns x y -o my.yaml",
    several={"--columns": lambda word: not word.startswith("-"), "--scalars": lambda word: not word.startswith("-")},
    paths=("model", "inputs.table"),
    beside=first.files,
)
