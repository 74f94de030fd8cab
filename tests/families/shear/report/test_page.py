"""The report: one file, nothing from outside, and everything that a reader needs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from lanewise.families.shear.report.figures import figures
from lanewise.families.shear.report.page import render
from lanewise.families.shear.statistics.estimates import GaussianPrior
from lanewise.families.shear.statistics.results import BiasResults, evaluate
from lanewise.families.shear.statistics.selection import ShearTruth
from lanewise.manifest.manifest import Acceptance
from lanewise.report.canvas import PALETTE, Picture
from lanewise.report.page import ROWS_SHOWN, Context, labelled
from lanewise.report.tables import to_json
from tables import MakeTable, Spoil, known

Draw = Callable[[BiasResults, pd.DataFrame], dict[str, Picture]]

CONTEXT = Context(
    campaign="batched <i>",
    manifest="name: batched\nconfig: {note: '<script>alert(1)</script> & co'}\n",
    versions={"lanewise": "0.2.0", "numpyro": "0.19.0", "jax": "0.7.1"},
)
MISSING = [ShearTruth(f"g1_+0.0500_g2_+0.0000_s{500 + i}", 0.05, 0.0, 500 + i) for i in range(2)]
LEVEL_0 = Acceptance(level="level_0")
VOID = {"meta", "br", "hr", "img", "link", "input"}


def page(
    table: pd.DataFrame, missing: Sequence[ShearTruth] = MISSING, acceptance: Acceptance = LEVEL_0, draw: Draw = figures
) -> str:
    prior = GaussianPrior(0.0, 0.05)
    results = evaluate(table, priors=(prior, prior), acceptance=acceptance, missing=missing)
    return render(results, table, draw(results, table), CONTEXT)


class Reader(HTMLParser):
    """Balance of tags, ids, and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        self._read(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._read(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def _read(self, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [known(value) for name, value in attrs if name == "id"]
        self.addresses += [known(value) for name, value in attrs if name in {"src", "href", "xlink:href", "action"}]


@pytest.fixture(scope="module")
def campaign(make_table: MakeTable, spoil: Spoil) -> pd.DataFrame:
    return spoil(make_table(n=30), [3], "density <NaN> at the start")


@pytest.fixture(scope="module")
def html(campaign: pd.DataFrame) -> str:
    return page(campaign)


def test_verdict_comes_first_with_its_numbers(campaign: pd.DataFrame) -> None:
    text = re.sub(r"<[^>]+>", " ", page(campaign, missing=()).split("<main>")[1])
    assert text.index("PASS") < text.index("|m| + 3σ") < text.index("realizations used") < text.index("Criteria")


def test_page_is_whole_and_asks_for_nothing_from_outside(html: str) -> None:
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids)) > 100
    assert reader.tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert reader.addresses
    assert all(address.startswith("#") and address[1:] in reader.ids for address in reader.addresses)
    assert set(re.findall(r"url\((.)", html)) == {"#"}
    assert "@import" not in html


def test_text_of_others_is_escaped(html: str) -> None:
    assert "batched &lt;i&gt;" in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co" in html
    assert "density &lt;NaN&gt; at the start" in html


def test_lost_realizations_are_named(campaign: pd.DataFrame, html: str) -> None:
    assert campaign["run_id"][3] in html
    for truth in MISSING:
        assert truth.run_id in html
    assert "89 ok, 1 failed, 2 missing" in html


def test_same_campaign_gives_the_same_bytes(campaign: pd.DataFrame, html: str) -> None:
    assert page(campaign.sample(frac=1, random_state=1), MISSING[::-1]) == html


def test_plots_take_the_colours_of_the_page(html: str) -> None:
    plots = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(plots) == 5
    for svg in plots:
        assert not [colour for colour in PALETTE.values() if colour in svg]
        assert "var(--ink)" in svg
        assert "DejaVu" not in svg


def test_colours_are_defined_for_light_dark_and_print(html: str) -> None:
    style = html.split("<style>")[1].split("</style>", 1)[0]
    light, dark, printed = re.split(r"@media \(prefers-color-scheme: dark\)|@media print", style)
    for role in PALETTE:
        assert all(f"--{role}:" in part for part in (light, dark, printed)), role


def test_long_lists_are_cut_and_say_so(make_table: MakeTable, spoil: Spoil) -> None:
    table = spoil(make_table(n=100), range(ROWS_SHOWN + 7))
    html = page(table, draw=lambda *_: {})
    assert "7 more in summary.csv" in html
    assert f"<li>{ROWS_SHOWN + 7} ×, e.g. " in html
    assert html.count("the image holds a NaN") == ROWS_SHOWN + 1


@pytest.mark.parametrize(
    ("planted", "acceptance", "word"),
    [
        (0.0, Acceptance(max_abs_m=0.01), "PASS"),
        (0.1, Acceptance(max_abs_m=0.01), "FAIL"),
        (0.0, Acceptance(max_abs_m=1e-5), "INCONCLUSIVE"),
        (0.0, Acceptance(max_abs_m=0.01, max_excluded_frac=0.0), "INVALID"),
    ],
)
def test_each_verdict_is_the_word_in_its_own_colour(
    campaign: pd.DataFrame, planted: float, acceptance: Acceptance, word: str
) -> None:
    table = campaign.assign(g1_mean=campaign["g1_mean"] * (1 + planted))
    html = page(table, missing=(), acceptance=acceptance, draw=lambda *_: {})
    assert f'<section class="card verdict {word.lower()}"' in html
    assert f'<p class="word">{word}</p>' in html


NUMBER = re.compile(r"(?<![\w.])[+−]?\d+(?:\.\d+)?(?: × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?")


def shown_numbers(html: str) -> list[tuple[float, float]]:
    """Every number outside plots, explanations, run ids and the manifest, with half of its last digit."""
    text = html.split("<main>")[1]
    for hidden in (
        r"<svg.*?</svg>",
        r"<figcaption>.*?</figcaption>",
        r'<p class="note">.*?</p>',
        r"<pre.*?</pre>",
        r"<code>.*?</code>",
        r"<h1>.*?</h1>",
    ):
        text = re.sub(hidden, " ", text, flags=re.DOTALL)
    text = re.sub(r"<th[^>]*>[^<]*</th>", lambda m: m[0] if re.search(r">[+−]?\d", m[0]) else " ", text)
    text = unescape(re.sub(r"<[^>]+>", " ", text))
    # (a ± b) × 10ⁿ is a × 10ⁿ and b × 10ⁿ.
    text = re.sub(r"\((\S+) ± (\S+)\) (× 10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", r"\1 \3 ± \2 \3", text)
    found = []
    for match in NUMBER.finditer(text):
        digits = match[0].partition(" ")[0].replace("−", "-")
        power = 10.0 ** int((match[1] or "0").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")))
        power *= 0.01 if text[match.end() : match.end() + 2].strip() == "%" else 1.0
        places = len(digits.partition(".")[2])
        found.append((float(digits) * power, 0.5 * 10.0**-places * power))
    return found


def numbers_of(node: object) -> list[float]:
    """Every number in a JSON, those in its sentences too."""
    if isinstance(node, dict):
        return [x for part in node.values() for x in numbers_of(part)]
    if isinstance(node, list):
        return [x for part in node for x in numbers_of(part)]
    if isinstance(node, str):
        return [value for value, _ in shown_numbers(f"<main>{node}")]
    return [float(node)] if isinstance(node, int | float) and not isinstance(node, bool) else []


def _moved(node: object) -> object:
    """The same JSON with every number three percent larger, and no sentences."""
    if isinstance(node, dict):
        return {key: _moved(part) for key, part in node.items()}
    if isinstance(node, list):
        return [_moved(part) for part in node]
    return 1.03 * node if isinstance(node, float) else None


def missing_numbers(html: str, *sources: object) -> list[float]:
    """Numbers of the page that none of the sources has."""
    known = np.array([abs(x) for source in sources for x in numbers_of(source)] or [np.inf])
    return [
        value
        for value, half in shown_numbers(html)
        if not np.any(np.abs(known - abs(value)) <= half * (1 + 1e-6) + 1e-12 * abs(value))
    ]


def test_every_number_of_the_report_is_in_the_json(campaign: pd.DataFrame) -> None:
    """To the digits that are shown. Other values would not be found: the test of the test."""
    prior = GaussianPrior(0.0, 0.05)
    table = campaign.copy()
    table["seed"] = [*range(45), *range(45)]
    table["g1_true"] = np.where(np.arange(90) < 45, 0.02, -0.02)
    table["g1_mean"] += table["g1_true"] - campaign["g1_true"]
    results = evaluate(table, priors=(prior, prior), acceptance=LEVEL_0, missing=MISSING)
    html = render(results, table, figures(results, table), CONTEXT)
    content = json.loads(to_json(results))
    shown = shown_numbers(html)
    assert len(shown) > 100
    # How many realizations each method has is counted from summary.csv.
    methods = table["method_used"].value_counts().to_dict()
    assert missing_numbers(html, content, methods) == []
    assert len(missing_numbers(html, _moved(content), methods)) > 20


def test_every_cell_names_its_column(html: str) -> None:
    """In a narrow window, a row is a list of names and values."""
    tables = re.findall(r"<table[^>]*>(.*?)</table>", html, flags=re.DOTALL)
    assert len(tables) > 4
    for table in tables:
        head, _, body = table.partition("</thead>")
        names = [re.sub("<.*?>", "", name) for name in re.findall(r"<th[^>]*>(.*?)</th>", head)]
        for row in re.findall("<tr.*?</tr>", body, flags=re.DOTALL):
            labels = re.findall('data-label="(.*?)"', row)
            assert labels == names[len(names) - len(labels) :]
            assert len(labels) == len(names) or "colspan" in row


def test_names_of_a_column_are_those_of_its_head() -> None:
    row = "<tr><th>x</th><td>1</td></tr>"
    assert labelled(f"<thead><tr><th class='l'>id</th><th><b>n</b></th></tr></thead>{row}") == (
        "<thead><tr><th class='l'>id</th><th><b>n</b></th></tr></thead>"
        '<tr><th data-label="id">x</th><td data-label="n">1</td></tr>'
    )
