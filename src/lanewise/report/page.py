"""What the pages of all reports share.

A report is one HTML file that needs no network, no script and no file beside it. It holds no clock, host, path or
attempt, so that the same campaign gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lanewise.report.canvas import PALETTE
from lanewise.statistics.verdict import superscript

REPORT = "report.html"
ROWS_SHOWN = 200  # of each list of realizations; the rest is in summary.csv


@dataclass(frozen=True)
class MissingChunk:
    """A chunk of which the results have nothing, or not all.

    Attributes:
        n: realizations that are missing.
        truths: their true parameters, as `Context.truth` names them, each once; empty where none is known.
        cause: the error that its last attempt ended with; empty if none is on record.
    """

    chunk: int
    n: int
    truths: tuple[tuple[float, ...], ...]
    cause: str


@dataclass(frozen=True)
class RetriedRow:
    """A realization that was tried again, and what came of it."""

    run_id: str
    retries: int
    status: str
    method: str


@dataclass(frozen=True)
class Context:
    """What the report says about the campaign besides its numbers.

    Attributes:
        campaign: its name.
        manifest: the manifest's text.
        reproduce: the command line that carries it out again.
        lanewise_version: that computed the numbers.
        versions: library → version.
        truth: heading of the truths of missing chunks.
        missing_chunks, retried: what is not computed, and what was computed more than once.
    """

    campaign: str
    manifest: str
    reproduce: str
    lanewise_version: str
    versions: Mapping[str, str]
    truth: str = "truth"
    missing_chunks: tuple[MissingChunk, ...] = ()
    retried: tuple[RetriedRow, ...] = ()


@dataclass(frozen=True)
class Plot:
    """A plot in a page; a wide one has a row of its own."""

    caption: str
    svg: Markup
    wide: bool = False


def environment(package: str) -> Environment:
    """Where the templates of reports are found, and how they write numbers.

    Args:
        package: of the family whose page it is; what pages share is found beside it.
    """
    found = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("lanewise.report", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"number": number}
    return found


def number(value: float | None, form: str = ".3g") -> str:
    """A number as people write it; a dash where there is none."""
    if value is None:
        return "–"
    mantissa, _, power = format(value, form).partition("e")
    return mantissa.replace("-", "−") + (f" × 10{superscript(int(power))}" if power else "")


def percent(value: float | None) -> str:
    """A share as people write it; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.3g} %"


def inline(name: str, svg: bytes) -> Markup:
    """A plot as part of the page: in its colours and its type, as wide as its column, ids its own."""
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r'\1 role="img" aria-hidden="true"', text, count=1)
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace("'DejaVu Sans', 'Helvetica', 'Arial', sans-serif", "var(--sans)")
    for role, colour in PALETTE.items():
        text = text.replace(colour, f"var(--{role})")
    return Markup(text)
