"""Swapped labels are found, correct ones are not flagged."""

from __future__ import annotations

import warnings

import numpy as np

from tuning.evaluation.label_issues import label_issues

CLASSES = ("dip", "plank", "squat", "row")


def predictions(clips: int, wrong: set[int], classes: int = 3) -> tuple[list[str], np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = np.arange(clips) % classes
    probabilities = random.dirichlet(np.ones(len(CLASSES)), clips) * 0.1
    probabilities[np.arange(clips), truth] += 0.9
    labels = np.array([(label + 1) % classes if at in wrong else label for at, label in enumerate(truth)])
    return [f"{at}.mp4" for at in range(clips)], labels, probabilities


def test_swapped_labels_are_found_with_the_likely_class() -> None:
    clips, labels, probabilities = predictions(60, {4, 17, 33})
    found = label_issues(clips, labels, probabilities, CLASSES)
    assert {issue.clip for issue in found} == {"4.mp4", "17.mp4", "33.mp4"}
    assert {issue.suggested for issue in found if issue.clip == "4.mp4"} == {CLASSES[4 % 3]}
    assert all(issue.p_label < 0.1 < 0.9 <= issue.p_suggested for issue in found)
    assert [issue.p_label for issue in found] == sorted(issue.p_label for issue in found)


def test_correct_labels_are_not_flagged_and_classes_may_have_no_clips() -> None:
    assert label_issues(*predictions(60, set()), CLASSES) == []
    assert label_issues(*predictions(6, set(), classes=1), CLASSES) == []


def test_few_clips_give_neither_an_error_nor_a_warning() -> None:
    random = np.random.default_rng(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for clips in range(1, 9):
            labels, probabilities = random.integers(0, 4, clips), random.dirichlet(np.ones(4), clips)
            found = label_issues([str(number) for number in range(clips)], labels, probabilities, CLASSES)
            assert all(issue.suggested != issue.label for issue in found)
