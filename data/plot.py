"""How a plot becomes part of a page: an SVG whose text stays text and whose colours are the page's, light or dark."""

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

# The page's own colours go in place of these, so that a plot follows light and dark.
_THEME = {
    "#010101": "var(--ink)",
    "#020202": "var(--bar)",
    "#030303": "var(--line)",
    "#040404": "var(--soft)",
    "#050505": "var(--panel)",
}
INK, BAR, LINE, MUTED, BACKGROUND = _THEME
"""Text; one colour of data; axes and grids; what is to stand back; what is behind the plot."""

BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"
"""Told apart by the colour-blind (Okabe & Ito 2008); all but blue, sky and orange stand out from white and from black.

A page may define --blue, --sky and --orange, lighter where it is dark and darker where it is light.
"""

_VARIABLES = {
    **_THEME,
    BLUE: f"var(--blue, {BLUE})",
    SKY: f"var(--sky, {SKY})",
    ORANGE: f"var(--orange, {ORANGE})",
}

UNITS_PER_INCH = 72
"""Of an SVG's viewBox in an inch of its figure; a font of 10 is 10 of them."""

PLOT_WIDTH = 5.0
"""Inches of a plot: its text is about as large on a phone of 360 pixels as it says."""

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
    "text.parse_math": False,  # a class may be called what would pass for a formula
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
    """Draw plots in the pages' style; a figure is made, drawn and written within it."""
    with matplotlib.rc_context(_RC), warnings.catch_warnings():
        # The browser draws the text, with fonts of its own.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def series_style(index: int) -> dict[str, Any]:
    """Return colour, marker and line style of one of several series, as keywords of `Axes.plot`.

    No two of the first 32 are alike in both marker and line, so that they are told apart without colour.
    """
    return {
        "color": _SERIES[index % len(_SERIES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": _LINES[(index + index // len(_MARKERS)) % len(_LINES)],
    }


def display_name(name: str, longest: int = 40) -> str:
    """A name as text of a plot: printable, and no longer than `longest` characters."""
    printable = "".join(letter if letter.isprintable() else "\ufffd" for letter in name)
    return printable if len(printable) <= longest else f"{printable[: longest - 1]}…"


def label_rows(axes: Axes, names: Sequence[str], longest: int, *, lines: bool = False) -> None:
    """A row a name, the first on top, if asked with `lines` between them; row i lies at y = i."""
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [display_name(name, longest) for name in names])
    axes.grid(axis="x")
    if lines:
        axes.hlines(np.arange(1, len(names)) - 0.5, 0, 1, LINE, linewidth=0.6, transform=axes.get_yaxis_transform())
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def annotate_row(axes: Axes, row: float, text: str, **look: Any) -> None:
    """Text to the right of a row."""
    axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9, **look)


def inline_svg(figure: Figure, title: str) -> Markup:
    """Return the figure as an `<svg>` to stand inside a page; `title` is what a screen reader says of it.

    It has a viewBox and no size, so that it scales. Its ids are made from what it shows: only the very same plot has
    the same ids. The page has to define the variables --ink, --bar, --line, --soft and --panel.
    """
    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(stream.getvalue())
    title = display_name(title, 1000)
    key = hashlib.sha256((title + stream.getvalue()).encode()).hexdigest()[:8]
    _rewrite(root, key)
    view = _number_text(root.get("viewBox", ""))
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
    """Bring every element into the form in which it may stand in a page beside other plots."""
    used: dict[str, str] = {}
    for element in list(root.iter()):
        for child in [each for each in element if each.tag.endswith(("}style", "}metadata"))]:
            element.remove(child)  # A style within a page would hold for all of it.
    for element in root.iter():
        element.tag = element.tag.partition("}")[2]
        for name, value in list(element.attrib.items()):
            if name.endswith("}href") or "url(#" in value:  # and not a colour of a style
                value = _REFERENCE.sub(lambda found: used.setdefault(found[0], f"p{key}-{len(used)}"), value)
            element.attrib.pop(name)
            if name in {"fill", "stroke"}:  # of a hatch; a variable belongs into a style
                name, value = "style", f"{name}: {value}"
            element.set(name.partition("}")[2] or name, _style(value) if name == "style" else _value(name, value))
    for element in root.iter():
        if (own := element.attrib.pop("id", None)) in used:
            element.set("id", used[own])


def _style(value: str) -> str:
    for colour, variable in _VARIABLES.items():
        value = value.replace(colour, variable)
    return value.replace("'DejaVu Sans', sans-serif", "system-ui, sans-serif")


def _value(name: str, value: str) -> str:
    return _number_text(" ".join(value.split())) if name in {"d", "transform", "x", "y", "width", "height"} else value


def _number_text(text: str) -> str:
    """Numbers to a hundredth: finer is not seen, and a thousand trials make a large page."""
    return re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), text)
