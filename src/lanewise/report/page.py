"""Functions and types for the pages of all reports.

A report is one HTML file without scripts, network access or other files. It contains no time, host, path or attempt, so
that the same campaign gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lanewise.manifest.status import causes
from lanewise.report.canvas import PALETTE, Picture
from lanewise.statistics.verdict import superscript

REPORT = "report.html"
ROWS_SHOWN = 200  # of each list of realizations; the rest is in summary.csv


@dataclass(frozen=True)
class MissingChunk:
    """A chunk with missing realizations.

    Attributes:
        n: number of missing realizations.
        truths: their distinct true parameters, as in the heading `Context.truth`; empty if unknown.
        cause: error of its last attempt; empty if unknown.
    """

    chunk: int
    n: int
    truths: tuple[tuple[float, ...], ...]
    cause: str


@dataclass(frozen=True)
class RetriedRow:
    """A retried realization and its result."""

    run_id: str
    retries: int
    status: str
    method: str


@dataclass(frozen=True)
class Context:
    """Information about the campaign for its report.

    Attributes:
        campaign: name of the campaign.
        manifest: the manifest's text.
        versions: package → version; includes lanewise.
        truth: heading of the truths of missing chunks.
        missing_chunks, retried: chunks with missing realizations, and retried realizations.
    """

    campaign: str
    manifest: str
    versions: Mapping[str, str]
    truth: str = "truth"
    missing_chunks: tuple[MissingChunk, ...] = ()
    retried: tuple[RetriedRow, ...] = ()


@dataclass(frozen=True)
class Plot:
    """A plot in a page; a wide plot fills a row."""

    caption: str
    svg: Markup
    wide: bool = False


def environment(package: str) -> Environment:
    """The environment of a report's templates.

    Args:
        package: package with the family's templates; the shared templates are always found.
    """
    found = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("lanewise.report", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"number": number, "causes": causes, "causes_of_rows": _causes_of_rows}
    return found


def number(value: float | None, form: str = ".3g") -> str:
    """A number for people; a dash for None."""
    if value is None:
        return "–"
    mantissa, _, power = format(value, form).partition("e")
    return mantissa.replace("-", "−") + (f" × 10{superscript(int(power))}" if power else "")


def _causes_of_rows(rows: Iterable[Any]) -> list[str]:
    """`causes` of objects with run_id, status and reason."""
    return causes((one.run_id, one.status, one.reason) for one in rows)


def percent(value: float | None) -> str:
    """A fraction as a percentage; a dash for None."""
    return "–" if value is None else f"{100 * value:.3g} %"


def inline(name: str, picture: Picture) -> Markup:
    """A plot for the page: with its colours, font and width, and with unique ids."""
    text = picture._repr_svg_()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r'\1 role="img" aria-hidden="true"', text, count=1)
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace("'DejaVu Sans', 'Helvetica', 'Arial', sans-serif", "var(--sans)")
    for role, colour in PALETTE.items():
        text = text.replace(colour, f"var(--{role})")
    return Markup(text)
