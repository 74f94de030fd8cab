"""Makes the pictures of docs/images from the campaigns of the gallery: python docs/site/pictures.py, after `make docs`.

Only way.svg is drawn by hand.
"""

from __future__ import annotations

import json
import re
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs/images"
# Picture → kind of campaign, and the beginning of the plot's name.
COPIED = {
    "lensing-bias": ("shear", "bias_g1"),
    "lensing-stamps": ("shear", "stamps_"),
    "beamline-maps": ("heterodyne", "maps-"),
    "beamline-rates": ("heterodyne", "rates-"),
    "own-model-sites": ("model", "sites"),
}
TEXT = '<text x="{x}" y="{y}" font-size="{size}" fill="{colour}"{more}>{text}</text>\n'


def main() -> None:
    """Copy the plots, and put three of them and the verdict into one picture of a report."""
    results = Path(sys.argv[1] if sys.argv[1:] else ROOT / "build/campaigns") / "results"
    for name, (kind, start) in COPIED.items():
        (IMAGES / f"{name}.svg").write_bytes(_plot(results / kind, start).read_bytes())
    (IMAGES / "report.svg").write_text(_report(results / "shear"))


def _plot(campaign: Path, start: str) -> Path:
    return sorted((campaign / "stats/plots").glob(f"{start}*.svg"))[0]


def _report(campaign: Path) -> str:
    found = json.loads((campaign / "stats/bias_results.json").read_text())["verdict"]
    stamps = _plot(campaign, "stamps_")
    lines = [(20, 34, 20, "#0f7b57", found["verdict"]), (90, 34, 15, "#1f2429", found["headline"])]
    lines += [(20, 58 + 20 * at, 13, "#1f2429", reason) for at, reason in enumerate(found["reasons"][:2])]
    lines += [(20, 369, 12, "#6b747d", f"One of the realizations: {stamps.stem.removeprefix('stamps_')}")]
    words = "".join(
        TEXT.format(
            x=x, y=y, size=size, colour=colour, text=escape(text), more=' font-weight="bold"' if size == 20 else ""
        )
        for x, y, size, colour, text in lines
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 760 618" '
        'width="760" height="618" font-family="DejaVu Sans, Helvetica, Arial, sans-serif">\n'
        "<title>The verdict of a shear campaign and three plots of its report</title>\n"
        "<desc>Made of the report of the manifest that `lanewise init shear` writes.</desc>\n"
        '<rect width="760" height="618" rx="8" fill="#fffffe" stroke="#d5dae0"/>\n'
        + words
        + _inside("points", _plot(campaign, "points"), "10 98 370 247")
        + _inside("m_c", _plot(campaign, "m_c"), "380 98 370 247")
        + _inside("stamps", stamps, "10 379 740 231")
        + "</svg>\n"
    )


def _inside(name: str, plot: Path, place: str) -> str:
    """A plot at a place (x, y, width, height) of another picture, with ids of its own."""
    text = re.sub(r"<metadata>.*?</metadata>", "", plot.read_text(), flags=re.DOTALL)
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text[text.index("<svg") :])
    x, y, width, height = place.split()
    box = f'<svg x="{x}" y="{y}" width="{width}" height="{height}" '
    return re.sub(r'<svg[^>]*?(viewBox="[^"]*")[^>]*>', rf"{box}\1>", text, count=1)


if __name__ == "__main__":
    main()
