"""Configuration files that are not what a sweep needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bad_inputs.commands import Console
from tests.helpers.sweep_runs import SMALL_CONFIG

FILES: dict[str, tuple[str | bytes, str]] = {
    "a list": ("[1, 2]\n", ""),
    "a number": ("3\n", ""),
    "a text": ("squat\n", ""),
    "a tab": ("train:\n\tepochs: 3\n", "bad.yaml"),
    "an open bracket": ("train: {epochs: 3\n", "bad.yaml"),
    "an open quote": ("name: 'a\n", "bad.yaml"),
    "a key twice": ("train: {epochs: 3}\ntrain: {epochs: 4}\n", "bad.yaml"),
    "a nested key twice": ("train: {epochs: 3, epochs: 4}\n", "bad.yaml"),
    "an unknown anchor": ("train: *common\n", "bad.yaml"),
    "two documents": ("train: {epochs: 3}\n---\ntrain: {epochs: 4}\n", "bad.yaml"),
    "a Python object": ("name: !!python/object/apply:os.getcwd []\n", "bad.yaml"),
    "an unknown tag": ("name: !thing x\n", "bad.yaml"),
    "a null key": ("? null\n: 3\n", ""),
    "a number as a key": ("3: 4\n", "3"),
    "a list as a key": ("? [1, 2]\n: 3\n", ""),
    "bytes": (b"\xff\xfe\xfd\x00" * 10, "bad.yaml"),
    "Latin-1": ("name: Liegestütz\n".encode("latin-1"), "bad.yaml"),
    "a NUL": (b"name: a\0b\n", "bad.yaml"),
    "JSON that is cut": ('{"train": {"epochs": 3', "bad.yaml"),
    "a reference to itself": ("train: &t {epochs: 3, x: *t}\n", ""),
    "an interpolation": ("name: ${nothing}\n", "bad.yaml"),
    "an environment variable": ("name: ${oc.env:NO_SUCH_VARIABLE}\n", "bad.yaml"),
    "a missing value": ("name: ???\n", "name is"),
    "a template": ("name: {{ name }}\n", ""),
    "a conflict": ("<<<<<<< HEAD\nname: a\n=======\nname: b\n>>>>>>> other\n", "bad.yaml"),
    "deep nesting": ("[" * 5000 + "]" * 5000, "bad.yaml"),
    "deep mappings": ("a: " + "{a: " * 2000 + "1" + "}" * 2000, "bad.yaml"),
}

SETTINGS: dict[str, str] = {
    "train: {epoch: 3}": "did you mean 'train.epochs'?",
    "trian: {epochs: 3}": "did you mean 'train'?",
    "train: 3": "train is 3",
    "train: []": "train is []",
    "train: null": "train is None",
    "train: {epochs: '3'}": "train.epochs",
    "train: {epochs: 2.5}": "train.epochs",
    "train: {epochs: [3]}": "train.epochs",
    "train: {epochs: {a: 3}}": "train.epochs",
    "train: {epochs: true}": "train.epochs",
    "train: {epochs: null}": "train.epochs",
    "train: {epochs: 0}": "train.epochs",
    "train: {epochs: -1}": "train.epochs",
    "train: {epochs: .nan}": "train.epochs",
    "train: {epochs: .inf}": "train.epochs",
    "train: {epochs: 1e400}": "train.epochs",
    "train: {batch_size: 0}": "train.batch_size",
    "train: {batch_size: -8}": "train.batch_size",
    "train: {size: 0}": "size",
    "train: {size: 100000}": "size",
    "train: {precision: fp8}": "train.precision",
    "train: {seed: -1}": "train.seed",
    "train: {weight_decay: -1}": "train.weight_decay",
    "train: {weight_decay: .nan}": "train.weight_decay",
    "train: {warmup_epochs: 99}": "warmup_epochs",
    "space: {lr: [0]}": "space.lr",
    "space: {lr: [-0.1]}": "space.lr",
    "space: {lr: [.nan]}": "space.lr",
    "space: {lr: [.inf]}": "space.lr",
    "space: {lr: []}": "lr has no value",
    "space: {lr: fast}": "space.lr",
    "space: {lr: [1e-3, 1e-3]}": "lr names a value twice",
    "space: {num_frames: [0]}": "num_frames",
    "space: {num_frames: [-2]}": "num_frames",
    "space: {num_frames: [1.5]}": "num_frames",
    "space: {num_frames: [9999]}": "9999 frames",
    "space: {arch: []}": "arch has no value",
    "space: {arch: resnet19}": "did you mean 'resnet18'?",
    "space: {arch: [resnet18, resnet18]}": "arch names a value twice",
    "space: {sampler: [even]}": "space.sampler",
    "space: {loss: [cross]}": "space.loss",
    "space: {selection: [all]}": "space.selection",
    "space: {train: {epochs: [1, 2]}}": "epochs",
    "space: {train: {nothing: [1, 2]}}": "nothing",
    "search: {trials: 0}": "search.trials",
    "search: {trials: 3}": "search.trials",
    "search: {algorithm: luck}": "search.algorithm",
    "search: {algorithm: random}": "search.trials",
    "search: {asha: {grace_epochs: 99}}": "grace_epochs",
    "search: {asha: 3}": "search.asha",
    "search: {pbt: {}}": "search.pbt",
    "search: {finalists: -1}": "search.finalists",
    "search: {metric: luck}": "search.metric",
    "data: {val: 0.6, test: 0.6}": "nothing",
    "data: {val: 0}": "data.val",
    "data: {val: 1}": "data.val",
    "data: {test: -0.5}": "data.test",
    "data: {test: .nan}": "data.test",
    "data: {folds: 1}": "folds is 1",
    "data: {folds: -1}": "data.folds",
    "data: {few_groups: maybe}": "data.few_groups",
    "data: {max_failed: 1}": "data.max_failed",
    "data: {max_failed: -1}": "data.max_failed",
    "data: {min_seconds: -1}": "data.min_seconds",
    "data: {min_seconds: 70, max_seconds: 60}": "min_seconds (70)",
    "data: {max_seconds: .inf}": "data.max_seconds",
    "data: {dir: 3}": "data.dir",
    "data: {dir: [a, b]}": "data.dir",
    "data: {groups: 3}": "data.groups",
    "data: {groups: none.csv}": "no such groups file",
    "data: {split: none.csv}": "none.csv",
    "data: {copies: maybe}": "data.copies",
    "store: {frames: 0}": "store.frames",
    "store: {frames: 1}": "",
    "store: {frames: -8}": "store.frames",
    "store: {short_side: 3}": "store.short_side",
    "store: {workers: 0}": "store.workers",
    "store: {seconds_per_clip: 0}": "store.seconds_per_clip",
    "store: {dir: 's3://bucket/x'}": "store.local",
    "models: {resnet19: {}}": "did you mean 'resnet18'?",
    "models: {resnet18: {widht: 3}}": "widht",
    "models: {resnet18: {hidden: -1}}": "hidden",
    "models: {resnet18: {hidden: big}}": "hidden",
    "models: {resnet18: 3}": "models.resnet18",
    "models: {resnet18: {weights: 3}}": "models: resnet18.weights is 3",
    "models: {resnet18: {weights: null}}": "weights",
    "models: {resnet18: {weights: none.pt}}": "none.pt",
    "models: []": "models",
    "resources: {cpus: 0}": "resources.cpus",
    "resources: {cpus: -1}": "resources.cpus",
    "resources: {gpus: -1}": "resources.gpus",
    "resources: {workers: 0}": "resources.workers",
    "tracking: {uri: 3}": "tracking.uri",
    "tracking: {experiment: ''}": "tracking.experiment",
    "tracking: {model_name: ''}": "tracking.model_name",
    "tracking: {model_name: 'a/b'}": "model_name",
    "test: {views: 0}": "test.views",
    "test: {max_risk: 2}": "test.max_risk",
    "name: ''": "name",
    "name: 3": "name",
    "name: ../up": "name",
    "weights_dir: ''": "weights_dir",
    "runs_dir: 3": "runs_dir",
    "runs_dir: ''": "runs_dir",
}
"""A line added to small settings, and a part of the message."""


def sweep_with(clips: Path) -> list[object]:
    return ["tuning", "sweep", "--config", "bad.yaml", "--data", clips]


@pytest.mark.parametrize("name", FILES)
def test_file_that_is_no_settings_is_refused(console: Console, clips: Path, name: str) -> None:
    content, message = FILES[name]
    Path("bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    console.refuses(message, *sweep_with(clips))


@pytest.mark.parametrize("line", SETTINGS)
def test_setting_is_refused(console: Console, clips: Path, line: str) -> None:
    section = line.split(":")[0]
    others = [each for each in SMALL_CONFIG.splitlines() if not each.startswith((f"{section}:", "models", "  "))]
    Path("bad.yaml").write_text("\n".join([*others, line, ""]))
    words = sweep_with(clips)
    if line.startswith("data: {dir"):
        words = words[:-2]
    console.refuses(SETTINGS[line], *words)


@pytest.mark.parametrize("kind", ["folder", "FIFO", "device", "unreadable", "link to itself", "name too long"])
def test_settings_that_are_no_file_are_refused(console: Console, clips: Path, kind: str) -> None:
    Path("folder.yaml").mkdir()
    os.mkfifo("fifo.yaml")
    Path("loop.yaml").symlink_to("loop.yaml")
    files = {
        "folder": "folder.yaml",
        "FIFO": "fifo.yaml",
        "device": "/dev/null",
        "unreadable": "/proc/self/mem",
        "link to itself": "loop.yaml",
        "name too long": "x" * 300,
    }
    console.refuses("", "tuning", "sweep", "--config", files[kind], "--data", clips)
