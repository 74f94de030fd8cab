"""Draw figures as SVG and PDF, with reproducible bytes.

The colours are few and fixed (`PALETTE`), so that a page can replace them, for example in dark mode.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lanewise.storage.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOTS = "plots"
PALETTE = {
    "paper": "#fffffe",
    "ink": "#1f2429",
    "muted": "#6b747d",
    "band": "#e8ecf0",
    "g1": "#0a5fb4",
    "g2": "#b4530a",
    "third": "#0f7b57",
    "fourth": "#7a3fa8",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
    "text.color": PALETTE["ink"],
    "axes.edgecolor": PALETTE["muted"],
    "axes.facecolor": "none",
    "axes.formatter.limits": (-9, 9),
    "axes.formatter.useoffset": False,
    "axes.labelcolor": PALETTE["ink"],
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": PALETTE["paper"],
    "legend.frameon": False,
    "legend.handletextpad": 0.1,
    "xtick.color": PALETTE["muted"],
    "xtick.labelcolor": PALETTE["ink"],
    "ytick.color": PALETTE["muted"],
    "ytick.labelcolor": PALETTE["ink"],
}


@dataclass(frozen=True)
class Picture:
    """A figure as the bytes of an SVG and of a PDF."""

    svg: bytes
    pdf: bytes

    def __repr__(self) -> str:
        return f"<Picture: {len(self.svg)} bytes of SVG, {len(self.pdf)} of PDF>"

    def _repr_svg_(self) -> str:
        """The figure in a notebook."""
        text = self.svg.decode("utf-8")
        return text[text.index("<svg") :]


def drawn(name: str, draw: Callable[[Figure], None], size: tuple[float, float] = (4.8, 3.2)) -> Picture:
    """Draw a figure; equal arguments give equal bytes.

    Args:
        name: unique per plot on a page; it makes the ids in the SVG unique.
        draw: draws on the empty figure that it is given.
        size: width and height [inch].
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()  # a user's matplotlibrc must not change the bytes
        mpl.rcParams.update(_STYLE)
        mpl.rcParams["svg.hashsalt"] = name
        figure = Figure(figsize=size)
        draw(figure)
        _freeze_layout(figure)
        svg, pdf = io.BytesIO(), io.BytesIO()
        # Not savefig, which draws everything twice; the layout is known.
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(svg, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        canvas = FigureCanvasPdf(figure)
        canvas.print_pdf(pdf, metadata=dict.fromkeys(("CreationDate", "Creator", "Producer")))
    return Picture(svg.getvalue(), pdf.getvalue())


def save(store: Store, pictures: Mapping[str, Picture], folder: str = "stats") -> None:
    """Write `plots/NAME.svg` and `plots/NAME.pdf` below `folder` ("" is the root)."""
    base = f"{folder}/{PLOTS}" if folder else PLOTS
    for name, picture in pictures.items():
        put(store, f"{base}/{name}", picture)


def put(store: Store, path: str, picture: Picture) -> None:
    """Write `path`.svg and `path`.pdf."""
    store.put(f"{path}.svg", picture.svg)
    store.put(f"{path}.pdf", picture.pdf)


def _freeze_layout(figure: Figure) -> None:
    """Round the places that a layout engine found: the last bits of its solver differ from process to process."""
    from matplotlib.transforms import Bbox

    if (engine := figure.get_layout_engine()) is None:
        return
    engine.execute(figure)
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(Bbox(axes.get_position(original=True).get_points().round(6)))
