from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable
from xml.etree import ElementTree

import jinja2
import numpy as np
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from data import plot
from data.intervals import wilson_interval
from data.page import frame_strip
from tuning.report.model_plots import (
    Calibration,
    ClassRow,
    Estimate,
    FrameCurve,
    OrderRow,
    RiskCurve,
    confusion,
    frame_order,
    over_frames,
    per_class,
    reliability,
    risk_coverage,
)
from tuning.report.parallel_coordinates import Axis, Settings, parallel_coordinates
from tuning.report.sweep_plots import (
    CostPoint,
    Curve,
    Labelled,
    TimeRow,
    importance,
    learning_curves,
    paired_differences,
    pareto,
    pareto_front,
    time_shares,
)
from tuning.training.calibration import ReliabilityBin, RiskCoveragePoint

NASTY = "<b>&\"'$x$ #010101"
HALF = Estimate(0.5, 0.4, 0.6)


def parse(svg: Markup) -> ElementTree.Element:
    """The SVG, which must be fit to stand in a page."""
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert {"width", "height"}.isdisjoint(root.attrib)
    assert len(root.get("viewBox", "").split()) == 4
    assert root[0].tag.endswith("}title")
    assert root[0].text == root.get("aria-label") != ""
    assert not list(root.iter("{http://www.w3.org/2000/svg}style"))
    assert ids(svg) == set(re.findall(r'(?:(?<=href="#)|(?<=url\(#))[^")]+', svg))
    assert "nan" not in svg.lower()
    assert not re.search("#0[1-5]0[1-5]0[1-5]", " ".join(e.get("style", "") for e in root.iter()))
    return root


def ids(svg: Markup) -> set[str]:
    found = re.findall(r'\bid="([^"]+)"', svg)
    assert len(found) == len(set(found))
    return set(found)


def texts(svg: Markup) -> list[str]:
    return ["".join(element.itertext()) for element in parse(svg).iter("{http://www.w3.org/2000/svg}text")]


def cells(svg: Markup) -> list[str]:
    return [text for text in texts(svg) if text.isdigit()]


def curve(name: str, scores: tuple[float, ...], *, stopped: bool = False, champion: bool = False) -> Curve:
    return Curve(name, tuple(range(1, len(scores) + 1)), scores, stopped, champion)


def calibration(*counts: tuple[int, int], ece: float = 0.1) -> Calibration:
    """Of as many bins of equal width; `counts` are the right ones and all."""
    share = 1 / len(counts)
    bins = [ReliabilityBin(i * share, (i + 1) * share, n, (i + 0.5) * share, k) for i, (k, n) in enumerate(counts)]
    return Calibration(tuple(bins), ece)


def forest(pairs: list[Labelled], overall: Estimate = HALF, favours: tuple[str, str] = ("a", "b")) -> Markup:
    return paired_differences(pairs, Labelled("all", overall), favours=favours, x_label="F1")


NAMED: dict[str, Callable[[str], Markup]] = {
    "confusion": lambda name: confusion(np.eye(2, dtype=int), [name, "other"], rates=False),
    "many classes": lambda name: confusion(np.eye(13, dtype=int), [name, *"abcdefghijkl"], rates=True),
    "risk": lambda name: risk_coverage([RiskCurve(name, (RiskCoveragePoint(0.9, 0.5, 0.1),))], 0.8),
    "category": lambda name: parallel_coordinates([Settings((name,), 0.5)], [Axis("a", "category")], "F1"),
    "axis": lambda name: parallel_coordinates([Settings((1.0,), 0.5, champion=True)], [Axis(name, "linear")], "F1"),
    "importance": lambda name: importance([Labelled(name, HALF)]),
    "curves": lambda name: learning_curves([curve(name, (0.1, 0.4), champion=True)], "F1"),
    "pareto": lambda name: pareto([CostPoint(name, 3.0, HALF)], "seconds"),
    "pair": lambda name: forest([Labelled(name, HALF)]),
    "favours": lambda name: forest([Labelled("a", HALF)], favours=(name, "b")),
    "order": lambda name: frame_order([OrderRow(name, HALF, HALF, HALF, HALF)], 0.25),
    "frames": lambda name: over_frames([FrameCurve(name, (1, 8), (HALF, HALF))], None),
    "class": lambda name: per_class([ClassRow(name, 0.5, HALF, 0.5, 4, True)]),
    "times": lambda name: time_shares([TimeRow(name, (3.0,))], ["decode"]),
    "kind": lambda name: time_shares([TimeRow("all", (3.0,))], [name]),
}
"""Every place in which a plot shows a name from outside, with the least that it draws."""


@pytest.mark.parametrize("draw", NAMED.values(), ids=NAMED)
def test_any_name_is_shown_as_it_is_and_plots_of_one_page_share_no_ids(draw: Callable[[str], Markup]) -> None:
    svg = draw(NASTY)
    assert NASTY in "\n".join(texts(svg))
    assert "<b>" not in svg
    assert jinja2.Environment(autoescape=True).from_string("{{ svg }}").render(svg=svg) == svg
    other = draw("\x00\x1b\ud800\n" + "x" * 500)
    assert all(len(text) < 80 for text in texts(other))
    assert ids(other).isdisjoint(ids(svg))


def test_the_same_data_gives_the_same_text() -> None:
    for name in ("importance", "curves"):
        assert NAMED[name]("a") == NAMED[name]("a")


def test_colours_of_the_page_stand_in_styles_alone() -> None:
    svg = confusion(np.array([[3, 1], [0, 2]]), ["#020202", "var(--ink)"], rates=False)
    assert "fill: var(--ink)" in svg
    assert "var(--bar)" in svg
    assert "#020202" in "".join(texts(svg))
    assert "var(--panel)" in time_shares([TimeRow("a", (1.0, 2.0))], ["x", "y"])


def test_a_reference_is_not_confused_with_a_colour() -> None:
    with plot.plot_style():
        figure = Figure()
        figure.subplots().plot([0, 1], [0, 1], color=plot.GREEN, marker="o")
        svg = plot.inline_svg(figure, "a line")
    parse(svg)
    assert "stroke: #009e73" in svg


def test_confusion_shows_counts_or_percent_of_the_true_class() -> None:
    counts = np.array([[3, 1, 0], [0, 8, 0], [0, 0, 0]])
    assert cells(confusion(counts, ["a", "b", "c"], rates=False)) == ["3", "1", "8"]
    rates = confusion(counts, ["a", "b", "c"], rates=True)
    assert cells(rates) == ["75", "25", "100"]
    assert {"a (4)", "b (8)", "c (0)"} <= set(texts(rates))


@pytest.mark.parametrize("classes", [1, 2, 12, 13, 22, 40])
def test_confusion_names_each_class(classes: int) -> None:
    names = [f"exercise {i}" for i in range(classes)]
    svg = confusion(np.diag(range(classes)), names, rates=False)
    shown = texts(svg)
    for place, name in enumerate(names):
        assert name in shown or f"{name}  {place + 1}" in shown
    if classes > 12:
        assert {str(place + 1) for place in range(classes)} <= set(shown)


def test_confusion_refuses_other_names_and_negative_counts() -> None:
    with pytest.raises(AssertionError):
        confusion(np.eye(3, dtype=int), ["a", "b"], rates=False)
    with pytest.raises(AssertionError, match="below 0"):
        confusion(np.array([[-1]]), ["a"], rates=False)


def test_reliability_tells_both_errors_and_draws_the_bins_with_clips() -> None:
    svg = reliability(calibration((0, 0), (1, 4), (9, 9), ece=0.217), calibration((0, 1), (2, 4), (8, 8), ece=0.034))
    assert {"before: ECE 0.217", "after: ECE 0.034"} <= set(texts(svg))
    assert "before 0.217, after 0.034" in (parse(svg).get("aria-label") or "")
    one = calibration((3, 4))
    assert "before: ECE 0.100" in texts(reliability(one, one))
    with pytest.raises(AssertionError, match="no clips before"):
        reliability(calibration((0, 0)), one)


def test_risk_is_told_at_the_largest_coverage_that_the_threshold_allows() -> None:
    points = (RiskCoveragePoint(0.5, 1.0, 0.3), RiskCoveragePoint(0.9, 0.25, 0.0), RiskCoveragePoint(0.7, 0.75, 0.125))
    shown = texts(risk_coverage([RiskCurve("validation", points), RiskCurve("test", points[:1])], 0.6))
    assert "validation from 0.60: 12.5 % wrong of 75 %" in shown
    assert "test" in shown
    assert not [text for text in shown if text.startswith("test from")]
    assert "validation" in texts(risk_coverage([RiskCurve("validation", points)], None))
    with pytest.raises(AssertionError):
        risk_coverage([RiskCurve("validation", ())], None)


def test_parallel_coordinates_show_each_category_and_the_ends_of_numbers() -> None:
    axes = [Axis("arch", "category"), Axis("lr", "log"), Axis("model.dropout", "linear")]
    trials = [
        Settings(("c3d", 0.0001, 0.5), 0.25),
        Settings(("c3d", 0.01, None), 0.75, champion=True),
        Settings(("r3d", 0.001, 0.1), 0.5),
    ]
    shown = texts(parallel_coordinates(trials, axes, "val F1"))
    assert {"arch", "lr", "model.dropout", "val F1", "champion"} <= set(shown)
    assert {"c3d", "r3d", "0.0001", "0.01", "0.1", "0.5", "–"} <= set(shown)
    assert "champion" not in texts(parallel_coordinates(trials[:1], axes, "val F1"))


def test_equal_settings_are_drawn_apart() -> None:
    alike = [Settings(("c3d",), 0.5)] * 3
    svg = parallel_coordinates(alike, [Axis("arch", "category")], "F1")
    lines = [e.get("d", "") for e in parse(svg).iter() if "var(--bar)" in e.get("style", "")]
    starts = re.findall(r"M ([\d.]+) ([\d.]+)", lines[0])
    assert len(lines) == 1
    assert len({x for x, _ in starts}) == len(starts) == 3


def test_parallel_coordinates_refuse_what_has_no_place() -> None:
    with pytest.raises(AssertionError, match="a value for each axis"):
        parallel_coordinates([Settings(("a", "b"), 0.5)], [Axis("arch", "category")], "F1")
    with pytest.raises(AssertionError):
        parallel_coordinates([Settings((0.0,), 0.5)], [Axis("lr", "log")], "F1")
    with pytest.raises(AssertionError):
        parallel_coordinates([Settings((1.0,), math.nan)], [Axis("lr", "log")], "F1")


def test_a_thousand_trials_make_a_page_of_bearable_size() -> None:
    draws = np.random.default_rng(0)
    settings = [Settings((f"arch{i % 5}", float(draws.uniform(1e-5, 1))), float(draws.random())) for i in range(1000)]
    costs = [CostPoint(str(i), float(draws.uniform(1, 1e9)), Estimate(v := draws.random(), v, v)) for i in range(1000)]
    curves = [curve(str(i), tuple(draws.random(10)), stopped=i % 3 > 0, champion=i == 7) for i in range(1000)]
    for svg in (
        parallel_coordinates(settings, [Axis("arch", "category"), Axis("lr", "log")], "F1"),
        learning_curves(curves, "F1"),
        pareto(costs, "FLOPs a clip"),
    ):
        parse(svg)
        assert len(svg) < 300_000


def test_importance_and_pairs_tell_their_figures() -> None:
    rows = [Labelled("lr", Estimate(0.625, 0.5, 0.75)), Labelled("sampler", Estimate(-0.01, -0.1, 0.1))]
    assert {"lr", "sampler", "0.62", "-0.01", "importance"} <= set(texts(importance(rows)))
    shown = texts(forest(rows, Estimate(0.1, -0.004, 0.2), ("plain", "weighted")))
    assert {"+0.625 [+0.50, +0.75]", "+0.100 [+0.00, +0.20]", "all", "F1", "plain", "weighted"} <= set(shown)
    parse(forest([Labelled("none", Estimate(0, 0, 0))], Estimate(0, 0, 0)))
    with pytest.raises(AssertionError):
        importance([])
    with pytest.raises(AssertionError):
        forest([])


def test_an_estimate_is_finite_and_its_interval_in_order() -> None:
    for bad in ((0.5, 0.6, 0.4), (math.nan, 0, 1), (0.5, 0, math.inf)):
        with pytest.raises(AssertionError):
            Estimate(*bad)


def test_learning_curves_count_those_that_were_stopped() -> None:
    curves = [curve("a", (0.1,)), curve("b", (0.1, 0.2), stopped=True), curve("best", (0.2, 0.3), champion=True)]
    shown = texts(learning_curves(curves, "val accuracy"))
    assert {"2 trials", "1 stopped early", "champion: best", "epoch", "val accuracy"} <= set(shown)
    for bad in (Curve("a", (1, 2), (0.1,)), Curve("a", (), ()), Curve("a", (1,), (math.nan,))):
        with pytest.raises(AssertionError):
            learning_curves([bad], "F1")


def test_the_front_is_what_no_other_beats() -> None:
    def point(label: str, cost: float, score: float) -> CostPoint:
        return CostPoint(label, cost, Estimate(score, score, score))

    points = [point("d", 4, 0.9), point("b", 2, 0.7), point("a", 1, 0.5), point("b'", 2, 0.6), point("c", 3, 0.7)]
    assert [each.label for each in pareto_front(points)] == ["a", "b", "d"]
    shown = texts(pareto(points, "seconds"))
    assert {"1. a: 0.500 at 1", "2. b: 0.700 at 2", "3. d: 0.900 at 4"} <= set(shown)
    assert {"1", "2", "3"} <= set(shown)
    with pytest.raises(AssertionError):
        pareto([point("a", 0, 0.5)], "seconds")


def test_numbers_of_the_front_do_not_lie_on_each_other() -> None:
    points = [CostPoint(str(i), 1 + 0.001 * i, Estimate(s := 0.5 + 0.001 * i, s, s)) for i in range(9)]
    points.append(CostPoint("dear", 15, Estimate(0.1, 0.1, 0.9)))
    spots = []
    for element in parse(pareto(points, "seconds")).iter("{http://www.w3.org/2000/svg}text"):
        if re.fullmatch(r"[1-9]", "".join(element.itertext())) and "font-weight: 700" in element.get("style", ""):
            spots.append((float(element.get("x", "")), float(element.get("y", ""))))
    assert len(spots) == 9
    for i, (x, y) in enumerate(spots):
        assert all(abs(x - u) > 6 or abs(y - v) > 9 for u, v in spots[:i])


def test_frames_tell_chance_and_each_architecture() -> None:
    row = OrderRow("c3d", HALF, HALF, HALF, Estimate(0.2, 0.2, 0.2))
    shown = texts(frame_order([row, OrderRow("average", HALF, HALF, HALF, HALF)], 0.25))
    assert {"c3d", "average", "ordered", "shuffled", "reversed", "single frame", "chance, 25.0 %"} <= set(shown)
    curves = [FrameCurve(f"arch {i}", (1, 4, 16), (HALF,) * 3) for i in range(12)]
    shown = texts(over_frames(curves, 0.1))
    assert {*(each.name for each in curves), "1", "4", "16", "chance, 10.0 %"} <= set(shown)
    with pytest.raises(AssertionError):
        over_frames([FrameCurve("c3d", (1, 2), (HALF,))], None)


@pytest.mark.parametrize("classes", [1, 40])
def test_per_class_marks_rare_ones(classes: int) -> None:
    rows = [ClassRow(f"class {i}", 1.0, Estimate(1, *wilson_interval(3, 3)), 1.0, 3, i == 0) for i in range(classes)]
    shown = texts(per_class(rows))
    assert {f"class {i}" for i in range(classes)} <= set(shown)
    assert shown.count("3 rare") == 1
    assert shown.count("3") == classes - 1


def test_time_shares_are_of_each_rows_own_time() -> None:
    svg = time_shares([TimeRow("sweep", (3600.0, 10800.0)), TimeRow("trial", (0.0, 90.0))], ["decode", "computing"])
    assert {"sweep", "trial", "4 h", "90 s", "decode", "computing"} <= set(texts(svg))
    parse(time_shares([TimeRow("nothing", (0.0,))], ["decode"]))
    for bad in ([TimeRow("a", (1.0, 2.0))], [TimeRow("a", (-1.0,))], []):
        with pytest.raises(AssertionError):
            time_shares(bad, ["decode"])
    with pytest.raises(AssertionError):
        time_shares([TimeRow("a", (1.0,) * 10)], list("abcdefghij"))


def picture(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body)))).astype(int)


def test_a_strip_holds_every_frame_and_the_heat_where_it_is() -> None:
    frames = np.zeros((3, 32, 40, 3), np.uint8)
    frames[1] = 200
    plain = picture(frame_strip(frames, None, height=32))
    assert plain.shape == (32, 120, 3)
    assert plain[:, 5:35].mean() < 10
    assert plain[:, 45:75].mean() > 190
    heat = np.zeros((3, 32, 40))
    heat[2, :16] = 1
    both = picture(frame_strip(frames, heat, height=32))
    assert both.shape == (64, 120, 3)
    assert abs(both[:30, :75] - plain[:30, :75]).mean() < 3
    assert both[34:46, 85:115].mean() > 80
    assert both[50:62, 85:115].mean() < 10
    for bad in (heat[:2], heat + 0.5, heat - 0.5):
        with pytest.raises(AssertionError):
            frame_strip(frames, bad)
    with pytest.raises(AssertionError):
        frame_strip(frames.astype(float), None)
