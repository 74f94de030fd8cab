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
from lanewise.statistics.numbers import number, percent, rounded, with_error

REPORT = "report.html"
_LEAST_SCALE = 0.84  # [px/pt] of a plot in a page: letters of 9 pt keep 7.6 px
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
    found.filters |= {
        "number": number,
        "percent": percent,
        "rounded": rounded,
        "with_error": with_error,
        "causes": causes,
        "causes_of_rows": _causes_of_rows,
        "labelled": labelled,
    }
    return found


def _causes_of_rows(rows: Iterable[Any]) -> list[str]:
    """`causes` of objects with run_id, status and reason."""
    return causes((one.run_id, one.status, one.reason) for one in rows)


def labelled(table: str) -> Markup:
    """The head and body of a table with the heading of its column in each cell, for narrow windows."""
    head, _, body = table.partition("</thead>")
    names = [re.sub(r"<.*?>", "", name) for name in re.findall(r"<th\b[^>]*>(.*?)</th>", head, re.DOTALL)]

    def row(found: re.Match[str]) -> str:
        left = iter(names)

        def cell(tag: re.Match[str]) -> str:
            if span := re.search(r'colspan="(\d+)"', tag[0]):
                for _ in range(int(span[1])):
                    next(left)
                return tag[0]
            return f'{tag[1]} data-label="{next(left)}">'

        return re.sub(r"(<t[dh]\b[^>]*)>", cell, found[0])

    return Markup(f"{head}</thead>{re.sub(r'<tr.*?</tr>', row, body, flags=re.DOTALL)}")


def inline(name: str, picture: Picture) -> Markup:
    """A plot for the page: with its colours, font and width, and with unique ids.

    It does not shrink below the width at which its letters can be read; a narrower window scrolls it.
    """
    text = picture._repr_svg_()
    width = float(re.search(r'<svg[^>]*? width="([\d.]+)pt"', text)[1])  # type: ignore[index]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(
        r'(<svg[^>]*?) width="[^"]*" height="[^"]*"',
        rf'\1 role="img" aria-hidden="true" style="min-width: {_LEAST_SCALE * width:.0f}px"',
        text,
        count=1,
    )
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace("'DejaVu Sans', 'Helvetica', 'Arial', sans-serif", "var(--sans)")
    for role, colour in PALETTE.items():
        text = text.replace(colour, f"var(--{role})")
    return Markup(text)
