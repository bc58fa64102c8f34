from __future__ import annotations

from dataclasses import replace

from tests.helpers.svg import texts
from tuning.evaluation.frame_order import ORDERS, OrderAccuracy, OrderProbe
from tuning.report.plots.frame_order import draw_frame_order
from tuning.training.bootstrap import Interval

PROBE = OrderProbe(
    "c3d", "c3d", "none", False, tuple(OrderAccuracy(order, 0.5, Interval(0.4, 0.6), None) for order in ORDERS)
)


def test_architectures_orders_and_chance_are_named() -> None:
    champion = replace(PROBE, arch="resnet18", champion=True)
    shown = set(texts(draw_frame_order([PROBE, champion], 0.25)))
    assert {"c3d", "resnet18 (champion)", *ORDERS, "chance, 25.0 %"} <= shown
    assert not any(text.startswith("chance") for text in texts(draw_frame_order([PROBE], None)))
