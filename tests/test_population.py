from __future__ import annotations

import csv
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ray.tune.experiment import Trial

from tests.test_checkpoint import MANIFEST_VALUES
from tuning.checkpoint import MANIFEST
from tuning.config import SweepConfig
from tuning.config_checks import changeable_axes
from tuning.config_file import parse_config
from tuning.generation import Generation, own_choice, with_generation
from tuning.population import Population, donors, explored
from tuning.run_folder import RunFolder
from tuning.settings import LogRange, PbtConfig

EPOCHS = 6


def population_config(**settings: Any) -> SweepConfig:
    space = {"arch": "resnet18", "num_frames": 8, "sampler": "balanced", "lr": [0.001, 0.01, 0.1, 1.0]}
    search = {"asha": None, "pbt": {"interval_epochs": 2}}
    plain = {"space": space, "search": search, "train": {"epochs": EPOCHS}}
    return parse_config({key: {**value, **settings.get(key, {})} for key, value in plain.items()})


def test_the_worst_take_over_from_the_best_and_all_that_diverged_from_one_of_these() -> None:
    scores = {"a": 0.9, "b": 0.2, "c": 0.5, "d": 0.6, "e": None, "f": None, "g": 0.8, "h": 0.1}
    assert donors(scores, 0.25, random.Random(0)).keys() == {"e", "f"}
    found = donors(scores, 0.5, random.Random(0))
    assert found.keys() == {"b", "e", "f", "h"}
    assert set(found.values()) <= {"a", "c", "d", "g"}
    assert donors({"a": 0.9, "b": 0.2}, 0.25, random.Random(0)) == {"b": "a"}
    assert donors({"a": 0.9, "b": 0.2, "c": None, "d": None}, 0.25, random.Random(0)) == {"c": "a", "d": "a"}


def test_nobody_takes_over_from_an_equal_or_from_nobody() -> None:
    assert donors({"a": 0.5, "b": 0.5, "c": 0.5}, 0.5, random.Random(0)) == {}
    assert donors({"a": None, "b": None}, 0.5, random.Random(0)) == {}
    assert donors({"a": 0.5}, 0.5, random.Random(0)) == {}


CHOICE = {"lr": 0.01, "sampler": "balanced", "loss": "plain", "train.mixup": 0.2, "train.size": 48}


def test_settings_move_to_their_neighbours_or_by_a_fifth_and_always_move() -> None:
    axes = {"lr": LogRange(low=0.001, high=0.011), "train.mixup": (0.4, 0, 0.2)}
    pbt = PbtConfig(resample_probability=0.0)
    seen = [explored(CHOICE, axes, pbt, lambda choice: True, random.Random(seed)) for seed in range(40)]
    assert {new["lr"] for new in seen} == {0.008, 0.011}, "within the range"
    assert {new["train.mixup"] for new in seen} == {0, 0.4}
    assert all(new["train.size"] == 48 and new["sampler"] == "balanced" for new in seen)


def test_settings_that_are_drawn_anew_come_from_the_space() -> None:
    axes = {"lr": LogRange(low=0.001, high=0.1), "train.mixup": (0, 0.2)}
    pbt = PbtConfig(resample_probability=1.0)
    seen = [explored(CHOICE, axes, pbt, lambda choice: True, random.Random(seed)) for seed in range(40)]
    assert len({new["lr"] for new in seen}) == 40
    assert all(0.001 <= new["lr"] <= 0.1 for new in seen)
    assert {new["train.mixup"] for new in seen} == {0, 0.2}
    assert explored(CHOICE, axes, pbt, lambda choice: True, random.Random(3)) == seen[3]


@pytest.mark.parametrize("probability", [0.0, 0.5])
@pytest.mark.parametrize(
    ("sampler", "loss"), [("imbalanced", "plain"), ("imbalanced", "weighted"), ("balanced", "plain")]
)
def test_no_trial_moves_to_what_is_to_be_left_out(probability: float, sampler: str, loss: str) -> None:
    both = {"sampler": ["imbalanced", "balanced"], "loss": ["plain", "weighted"], "lr": 0.01}
    sweep = population_config(space={**both, "balanced_and_weighted": "leave-out"})
    choice = {"sampler": sampler, "loss": loss, "lr": 0.01}
    for seed in range(20):
        pbt = PbtConfig(resample_probability=probability)
        new = explored(choice, changeable_axes(sweep), pbt, sweep.allows, random.Random(seed))
        assert sweep.allows(new)
        assert new != choice


def test_a_generation_is_found_again_by_its_name() -> None:
    first = Generation.of({"lr": 0.1})
    assert (first.run_name("t_00001"), first.runs("t_00001")) == ("t_00001", ("t_00001",))
    second = Generation(2, "/runs/t_00001/checkpoint_1", earlier=first.runs("t_00001"))
    kept = with_generation({"lr": 0.1}, second)
    assert own_choice(kept) == {"lr": 0.1}
    assert Generation.of(kept) == second
    assert second.runs("t_00001") == ("t_00001", "t_00001-epoch0002")
    taken = Generation(4, "/runs/t_00000/checkpoint_1", donor="t_00000", changes="lr 0.1 -> 0.08")
    assert taken.runs("t_00001") == ("t_00001-epoch0004",), "what went before is another's"
    sweep = population_config(train={"epochs": 5})
    assert [Generation(start=start).end(sweep) for start in (0, 2, 4)] == [2, 4, 5]


@dataclass
class Controller:
    """What a scheduler asks of Tune's controller."""

    trials: list[Trial] = field(default_factory=list)

    def get_trials(self) -> list[Trial]:
        return self.trials

    def pause_trial(self, trial: Trial, should_checkpoint: bool) -> None:
        trial.set_status(Trial.PAUSED)

    def stop_trial(self, trial: Trial) -> None:
        trial.set_status(Trial.TERMINATED)


@dataclass
class Populace:
    """A population whose trials train in no time."""

    run: RunFolder
    sweep: SweepConfig
    at_once: int = 2
    controller: Controller = field(default_factory=Controller)

    def __post_init__(self) -> None:
        self.run.checkpoints.mkdir(parents=True, exist_ok=True)
        self.scheduler = Population(self.sweep, 4, self.at_once, self.run)
        for number, lr in enumerate(self.sweep.subspaces()[0].listed("lr")):
            trial = Trial("trial", stub=True, trial_id=f"t_{number:05d}", config={"lr": lr})
            self.scheduler.on_trial_add(self.controller, trial)
            self.controller.trials.append(trial)

    def start(self) -> list[str]:
        """The trials that Tune would start now."""
        started = []
        while (trial := self.scheduler.choose_trial_to_run(self.controller)) is not None:
            trial.set_status(Trial.RUNNING)
            started.append(trial.trial_id)
        return started

    def finish_generation(self, trial_id: str, score: float | None) -> str:
        """Let a trial come to its generation's end, or diverge at its start."""
        trial = next(trial for trial in self.controller.trials if trial.trial_id == trial_id)
        generation = Generation.of(trial.config)
        end = generation.end(self.sweep)
        if score is None:
            return self.scheduler.on_trial_result(self.controller, trial, {"epoch": 1, "status": "diverged"})
        folder = self.run.checkpoints / generation.run_name(trial_id) / f"checkpoint_{end}"
        folder.mkdir(parents=True)
        history = ({"val_macro_f1": score},) * end
        (folder / MANIFEST).write_text(MANIFEST_VALUES.model_copy(update={"history": history}).model_dump_json())
        result = {"status": "running", "val_macro_f1": score, "checkpoint_path": str(folder)}
        assert self.scheduler.on_trial_result(self.controller, trial, {**result, "epoch": end - 1}) == "CONTINUE"
        return self.scheduler.on_trial_result(self.controller, trial, {**result, "epoch": end})

    def config(self, number: int) -> dict[str, Any]:
        return self.controller.trials[number].config


@pytest.fixture
def populace(tmp_path: Path) -> Populace:
    return Populace(RunFolder(tmp_path), population_config())


def to_the_first_meeting(populace: Populace) -> None:
    assert populace.start() == ["t_00000", "t_00001"]
    assert populace.start() == [], "two at once"
    for number, score in enumerate((0.5, 0.6, None, 0.4)):
        assert populace.finish_generation(f"t_{number:05d}", score) == "NOOP"
        populace.start()


def test_weights_pass_once_all_have_come_to_the_generations_end(populace: Populace) -> None:
    to_the_first_meeting(populace)
    checkpoints = populace.run.checkpoints
    taken, stayed = Generation.of(populace.config(2)), Generation.of(populace.config(0))
    assert (taken.donor, taken.parent) == ("t_00001", str(checkpoints / "t_00001/checkpoint_2"))
    assert populace.config(2)["lr"] in (0.001, 0.1), "next to the donor's 0.01"
    assert (stayed.donor, stayed.parent) == ("", str(checkpoints / "t_00000/checkpoint_2"))
    assert populace.config(0)["lr"] == 0.001
    with populace.run.pbt.open() as stream:
        (row,) = csv.DictReader(stream)
    assert (row["epoch"], row["trial"], row["donor"], row["score"], row["donor_score"]) == (
        *("2", "t_00002", "t_00001"),
        *("", "0.6"),
    )
    assert (row["lr_before"], row["lr_donor"], row["lr"]) == ("0.1", "0.01", str(populace.config(2)["lr"]))


def test_the_last_generation_ends_without_a_meeting(populace: Populace) -> None:
    to_the_first_meeting(populace)
    for end in (4, EPOCHS):
        decisions = set()
        for number in range(4):
            decisions.add(populace.finish_generation(f"t_{number:05d}", 0.5))
            populace.start()
        assert decisions == ({"STOP"} if end == EPOCHS else {"NOOP"})


def test_a_trial_that_failed_is_not_waited_for(populace: Populace) -> None:
    populace.start()
    for number in (0, 1, 2):
        populace.finish_generation(f"t_{number:05d}", 0.5 + number / 10)
        populace.start()
    assert populace.start() == []
    populace.controller.trials[3].set_status(Trial.ERROR)
    assert populace.start() == ["t_00000", "t_00001"]
    assert [Generation.of(populace.config(number)).start for number in range(4)] == [2, 2, 2, 0]
    assert Generation.of(populace.config(0)).donor == "t_00002"


def test_a_population_that_diverged_as_a_whole_ends(populace: Populace) -> None:
    populace.start()
    for number in range(4):
        populace.finish_generation(f"t_{number:05d}", None)
        populace.start()
    assert {trial.status for trial in populace.controller.trials} == {Trial.TERMINATED}


def test_a_trial_whose_driver_died_starts_again_by_itself(populace: Populace) -> None:
    populace.start()
    trial = populace.controller.trials[0]
    trial.set_status(Trial.PENDING)
    populace.scheduler.on_trial_add(populace.controller, trial)
    assert trial.status == Trial.PENDING
    assert populace.start() == []


def test_a_resumed_sweep_goes_on_with_the_generation_that_was_written_down(populace: Populace) -> None:
    to_the_first_meeting(populace)
    resumed = Populace(populace.run, populace.sweep)
    assert [resumed.config(number) for number in range(4)] == [populace.config(number) for number in range(4)]
    assert resumed.start() == ["t_00000", "t_00001"]


def test_the_seed_decides_what_passes_whatever_the_ids(tmp_path: Path) -> None:
    told = []
    for name, seed in (("a", 0), ("b", 0), ("c", 5)):
        sweep = population_config(search={"seed": seed, "pbt": {"interval_epochs": 2, "quantile": 0.5}})
        populace = Populace(RunFolder(tmp_path / name), sweep)
        to_the_first_meeting(populace)
        told.append(
            [(populace.config(number)["lr"], Generation.of(populace.config(number)).donor) for number in range(4)]
        )
    assert told[0] == told[1]
    assert told[0] != told[2]


def test_checkpoints_that_nobody_needs_are_deleted(populace: Populace) -> None:
    to_the_first_meeting(populace)
    for number, score in enumerate((0.3, 0.7, 0.6, 0.2)):
        populace.finish_generation(f"t_{number:05d}", score)
        populace.start()
    left = {str(path.relative_to(populace.run.checkpoints)) for path in populace.run.checkpoints.glob("*/*/")}
    assert Generation.of(populace.config(3)).donor == "t_00001"
    assert left == {
        *("t_00000/checkpoint_2", "t_00000-epoch0002/checkpoint_4"),  # Its best, and what it goes on from.
        "t_00001-epoch0002/checkpoint_4",
        "t_00002-epoch0002/checkpoint_4",
    }
