"""Draw figures as SVG, with reproducible bytes.

The colours are few and fixed (`PALETTE`), so that a page can replace them, for example in dark mode.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def svg(name: str, draw: Callable[[Figure], None], size: tuple[float, float] = (4.8, 3.2)) -> bytes:
    """Draw a figure as SVG; equal arguments give equal bytes.

    Args:
        name: unique per plot on a page; it makes the ids in the SVG unique.
        draw: draws on the empty figure that it is given.
        size: width and height [inch].
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()  # a user's matplotlibrc must not change the bytes
        mpl.rcParams.update(_STYLE)
        mpl.rcParams["svg.hashsalt"] = name
        figure = Figure(figsize=size)
        draw(figure)
        _freeze_layout(figure)
        out = io.BytesIO()
        # Not savefig, which draws everything twice; the layout is known.
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(out, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return out.getvalue()


def _freeze_layout(figure: Figure) -> None:
    """Round the places that a layout engine found: the last bits of its solver differ from process to process."""
    from matplotlib.transforms import Bbox

    if (engine := figure.get_layout_engine()) is None:
        return
    engine.execute(figure)
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(Bbox(axes.get_position(original=True).get_points().round(6)))
