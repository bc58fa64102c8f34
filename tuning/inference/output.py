"""Write predictions as a table, CSV or JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from tabulate import tabulate

from tuning.inference.classify import FilePrediction
from tuning.inference.options import OutputFormat
from tuning.training.class_probabilities import top_classes

ABSTAINED_TEXT = "not one of these"
_DEFECT_SEPARATOR = "; "


def write_predictions(
    predictions: Iterable[FilePrediction],
    classes: Sequence[str],
    stream: TextIO,
    *,
    format: OutputFormat,
    top: int,
) -> None:
    """Write predictions: CSV row by row, the other formats at the end.

    Args:
        predictions: of clips and segments, in order.
        classes: K names.
        stream: written to.
        format: `csv` has one row per prediction, whose label is empty if the model abstains, two more columns for
            each further class of `top`, and the names of the defects last; `json` is one list. The table has a column
            of defects if there are any.
        top: number of most likely classes, 1 to K.
    """
    if format == "csv":
        _write_csv(predictions, classes, stream, top)
    elif format == "json":
        values = [_json_values(prediction, classes, top) for prediction in predictions]
        json.dump(values, stream, indent=1, ensure_ascii=False)
        stream.write("\n")
    else:
        table = _table(list(predictions), classes, top)
        stream.write(f"{table}\n" if table else "")


def format_time(seconds: float) -> str:
    """Return a time such as `1:02:03.5`; hours only if it has any."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest / 10:04.1f}"


def _write_csv(predictions: Iterable[FilePrediction], classes: Sequence[str], stream: TextIO, top: int) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    others = [f"{name}_{rank}" for rank in range(2, top + 1) for name in ("label", "probability")]
    writer.writerow(["clip", "start", "end", "label", "probability", "abstained", *others, "defects"])
    for prediction in predictions:
        (best, probability), *rest = top_classes(prediction.probabilities, classes, top)
        label = "" if prediction.abstained else best
        more = [text for name, value in rest for text in (name, f"{value:.6f}")]
        writer.writerow(
            [
                *(prediction.path, f"{prediction.start:.2f}", f"{prediction.end:.2f}"),
                *(label, f"{probability:.6f}", str(prediction.abstained).lower(), *more),
                _DEFECT_SEPARATOR.join(prediction.defects),
            ]
        )
        # So that a killed process leaves the rows written so far.
        stream.flush()


def _json_values(prediction: FilePrediction, classes: Sequence[str], top: int) -> dict[str, Any]:
    best = top_classes(prediction.probabilities, classes, top)
    return {
        "clip": prediction.path,
        "start": round(prediction.start, 3),
        "end": round(prediction.end, 3),
        "label": None if prediction.abstained else best[0][0],
        "probability": round(best[0][1], 6),
        "abstained": prediction.abstained,
        "top": [{"label": name, "probability": round(value, 6)} for name, value in best],
        "defects": list(prediction.defects),
    }


def _table(predictions: Sequence[FilePrediction], classes: Sequence[str], top: int) -> str:
    if not predictions:
        return ""
    times = any(prediction.is_segment for prediction in predictions)
    header = ["clip", *(["from", "to"] if times else []), "class", "probability", *(["most likely"] if top > 1 else [])]
    rows = [_row(prediction, classes, top, times) for prediction in predictions]
    if any(prediction.defects for prediction in predictions):
        header.append("defects")
        for row, prediction in zip(rows, predictions, strict=True):
            row.append(_DEFECT_SEPARATOR.join(prediction.defects))
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


def _row(prediction: FilePrediction, classes: Sequence[str], top: int, times: bool) -> list[str]:
    best = top_classes(prediction.probabilities, classes, top)
    name, probability = best[0]
    span = [format_time(prediction.start), format_time(prediction.end)] if times else []
    most_likely = [", ".join(f"{name} {value:.3f}" for name, value in best)] if top > 1 else []
    if prediction.abstained:
        return [prediction.path, *span, ABSTAINED_TEXT, f"{name} {probability:.3f}", *most_likely]
    return [prediction.path, *span, name, f"{probability:.3f}", *most_likely]
