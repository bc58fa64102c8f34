"""Answers as people and programs read them: a table, CSV, JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TextIO

import numpy as np
from tabulate import tabulate

from tuning.inference.label import Answer

Format = Literal["table", "csv", "json"]
FORMATS: tuple[Format, ...] = ("table", "csv", "json")

NO_ANSWER = "not one of these"


def write_answers(
    answers: Iterable[Answer], classes: Sequence[str], stream: TextIO, *, format: Format, top: int
) -> None:
    """Write answers as they come (CSV) or all at the end.

    Args:
        answers: of clips and segments, in order.
        classes: K names.
        stream: where to.
        format: `csv` has a row an answer, the label empty where the model abstains, and two more columns for each
            further class that is asked for; `json` is one list.
        top: most likely classes to show, 1 to K.
    """
    if format == "csv":
        _write_csv(answers, classes, stream, top)
    elif format == "json":
        json.dump([_plain(answer, classes, top) for answer in answers], stream, indent=1, ensure_ascii=False)
        stream.write("\n")
    else:
        table = _table(list(answers), classes, top)
        stream.write(f"{table}\n" if table else "")


def ranked(probabilities: np.ndarray, classes: Sequence[str], top: int) -> list[tuple[str, float]]:
    """The most likely classes of `(K,)`, the likeliest first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [(classes[index], float(probabilities[index])) for index in order]


def clock(seconds: float) -> str:
    """Such as `1:02:03.5`: hours only where there are any."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest / 10:04.1f}"


def _write_csv(answers: Iterable[Answer], classes: Sequence[str], stream: TextIO, top: int) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    others = [f"{what}_{place}" for place in range(2, top + 1) for what in ("label", "probability")]
    writer.writerow(["clip", "start", "end", "label", "probability", "abstained", *others])
    for answer in answers:
        (best, probability), *rest = ranked(answer.probabilities, classes, top)
        label = "" if answer.abstained else best
        further = [text for name, value in rest for text in (name, f"{value:.6f}")]
        writer.writerow(
            [
                *(answer.path, f"{answer.start:.2f}", f"{answer.end:.2f}"),
                *(label, f"{probability:.6f}", str(answer.abstained).lower(), *further),
            ]
        )
        # A killed labelling of many clips leaves the rows so far.
        stream.flush()


def _plain(answer: Answer, classes: Sequence[str], top: int) -> dict[str, Any]:
    best = ranked(answer.probabilities, classes, top)
    return {
        "clip": answer.path,
        "start": round(answer.start, 3),
        "end": round(answer.end, 3),
        "label": None if answer.abstained else best[0][0],
        "probability": round(best[0][1], 6),
        "abstained": answer.abstained,
        "top": [{"label": name, "probability": round(value, 6)} for name, value in best],
    }


def _table(answers: Sequence[Answer], classes: Sequence[str], top: int) -> str:
    if not answers:
        return ""
    times = any(answer.is_segment for answer in answers)
    header = ["clip", *(["from", "to"] if times else []), "label", "probability", *(["likeliest"] if top > 1 else [])]
    return tabulate(
        [_row(answer, classes, top, times) for answer in answers], header, tablefmt="simple", disable_numparse=True
    )


def _row(answer: Answer, classes: Sequence[str], top: int, times: bool) -> list[str]:
    best = ranked(answer.probabilities, classes, top)
    label = NO_ANSWER if answer.abstained else best[0][0]
    probability = f"{best[0][1]:.3f}" if not answer.abstained else f"{best[0][0]} {best[0][1]:.3f}"
    span = [clock(answer.start), clock(answer.end)] if times else []
    likeliest = [", ".join(f"{name} {value:.3f}" for name, value in best)] if top > 1 else []
    return [answer.path, *span, label, probability, *likeliest]
