"""Plots for the HTML pages: inline SVG that keeps text as text and follows the page's light or dark theme."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Placeholder colours, replaced by the page's CSS variables so that a plot follows its theme.
_THEME = {
    "#010101": "var(--ink)",
    "#020202": "var(--bar)",
    "#030303": "var(--line)",
    "#040404": "var(--soft)",
    "#050505": "var(--panel)",
}
INK, BAR, LINE, MUTED, BACKGROUND = _THEME
"""Colours of the theme: text; data in a single colour; axes and grids; secondary elements; background of the plot."""

BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"
"""Colours that colour-blind people can distinguish (Okabe & Ito 2008).

All but blue, sky and orange have enough contrast with white and with black. A page can define the CSS variables --blue,
--sky and --orange for its theme: lighter on dark, darker on light.
"""

_VARIABLES = {
    **_THEME,
    BLUE: f"var(--blue, {BLUE})",
    SKY: f"var(--sky, {SKY})",
    ORANGE: f"var(--orange, {ORANGE})",
}

UNITS_PER_INCH = 72
"""Units of the SVG's viewBox per inch of the figure; a font of size 10 is 10 units high."""

PLOT_WIDTH = 5.0
"""Width of a plot in inches: on a phone 360 pixels wide, text then has about its nominal size."""

_SERIES = (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, MUTED)
_MARKERS = "osD^vPX*"
_LINES = ("-", "--", "-.", ":")

_RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "the same data, the same file",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # A class name can contain dollar signs.
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.2,
    "hatch.linewidth": 0.7,
}


@contextmanager
def plot_style() -> Iterator[None]:
    """Apply the pages' style to plots; create, draw and save a figure within the block."""
    with matplotlib.rc_context(_RC), warnings.catch_warnings():
        # The browser draws the text, with its own fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def series_style(index: int) -> dict[str, Any]:
    """Return colour, marker and line style of a series, as keyword arguments of `Axes.plot`.

    Among the first 32 series, each combination of marker and line style is unique, so that they can be distinguished
    without colour.

    Args:
        index: number of the series in its plot.
    """
    return {
        "color": _SERIES[index % len(_SERIES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": _LINES[(index + index // len(_MARKERS)) % len(_LINES)],
    }


def display_name(name: str, max_length: int = 40) -> str:
    """Return a name as text for a plot: printable, and shortened to `max_length` characters."""
    printable = "".join(letter if letter.isprintable() else "\ufffd" for letter in name)
    return printable if len(printable) <= max_length else f"{printable[: max_length - 1]}…"


def label_rows(axes: Axes, names: Sequence[str], max_length: int, *, lines: bool = False) -> None:
    """Turn the y axis into one row per name, the first on top; row i is at y = i.

    Args:
        axes: the plot.
        names: of the rows.
        max_length: characters of a name to show.
        lines: draw lines between the rows.
    """
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [display_name(name, max_length) for name in names])
    axes.grid(axis="x")
    if lines:
        axes.hlines(np.arange(1, len(names)) - 0.5, 0, 1, LINE, linewidth=0.6, transform=axes.get_yaxis_transform())
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def annotate_row(axes: Axes, row: float, text: str, **style: Any) -> None:
    """Write text to the right of a row; `style` are keyword arguments of `Axes.text`."""
    axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9, **style)


def inline_svg(figure: Figure, title: str) -> Markup:
    """Return a figure as an `<svg>` element for a page.

    It has a viewBox and no size, so that it scales. Its ids are derived from its content, so that only identical plots
    share ids. The page must define the CSS variables --ink, --bar, --line, --soft and --panel.

    Args:
        figure: drawn in `plot_style`.
        title: read by screen readers.
    """
    stream = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=no_metadata)
    root = ElementTree.fromstring(stream.getvalue())
    title = display_name(title, 1000)
    key = hashlib.sha256((title + stream.getvalue()).encode()).hexdigest()[:8]
    _rewrite(root, key)
    view = _round_numbers(root.get("viewBox", ""))
    root.attrib.clear()
    root.attrib.update(
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": view,
            "role": "img",
            "aria-label": title,
            "style": "stroke-linejoin: round; stroke-linecap: butt",
        }
    )
    heading = ElementTree.Element("title")
    heading.text = title
    root.insert(0, heading)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


_REFERENCE = re.compile(r"(?<=^#)[\w-]+$|(?<=url\(#)[\w-]+(?=\))")


def _rewrite(root: ElementTree.Element, key: str) -> None:
    """Rewrite all elements so that the plot does not affect others in the same page, and make it smaller."""
    new_ids: dict[str, str] = {}
    for element in list(root.iter()):
        for child in [each for each in element if each.tag.endswith(("}style", "}metadata"))]:
            element.remove(child)  # A stylesheet would apply to the whole page.
    for element in root.iter():
        element.tag = element.tag.partition("}")[2]
        for name, value in list(element.attrib.items()):
            if name.endswith("}href") or "url(#" in value:  # A hexadecimal colour is not a reference.
                value = _REFERENCE.sub(lambda match: new_ids.setdefault(match[0], f"p{key}-{len(new_ids)}"), value)
            element.attrib.pop(name)
            if name in {"fill", "stroke"}:  # Hatches have attributes, in which CSS variables have no effect.
                name, value = "style", f"{name}: {value}"
            element.set(name.partition("}")[2] or name, _use_theme(value) if name == "style" else _compact(name, value))
    for element in root.iter():
        if (old_id := element.attrib.pop("id", None)) in new_ids:
            element.set("id", new_ids[old_id])


def _use_theme(value: str) -> str:
    for colour, variable in _VARIABLES.items():
        value = value.replace(colour, variable)
    return value.replace("'DejaVu Sans', sans-serif", "system-ui, sans-serif")


def _compact(name: str, value: str) -> str:
    return _round_numbers(" ".join(value.split())) if name in {"d", "transform", "x", "y", "width", "height"} else value


def _round_numbers(text: str) -> str:
    """Round numbers to a hundredth, which is invisible and makes a page with many trials smaller."""
    return re.sub(r"-?\d+\.\d+", lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), text)
