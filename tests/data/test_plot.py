from __future__ import annotations

from matplotlib.figure import Figure

from data import plot
from tests.helpers.svg import parse


def test_a_reference_is_not_taken_for_a_colour() -> None:
    with plot.plot_style():
        figure = Figure()
        figure.subplots().plot([0, 1], [0, 1], color=plot.GREEN, marker="o")
        svg = plot.inline_svg(figure, "a line")
    parse(svg)
    assert "stroke: #009e73" in svg
