"""Memory and time of trials, measured by training them in processes of their own."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from tests.helpers.noise_data import noise_data, small_sweep
from tuning.config.trial_config import TrialConfig
from tuning.training.heaviest import heaviest_trials
from tuning.training.profile import TrialProfile, profile_trial
from tuning.training.trial_data import TrialData

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrialData:
    return noise_data(tmp_path_factory.mktemp("store"))


def profile_in_new_process(trial: TrialConfig, data: TrialData) -> TrialProfile:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(profile_trial, trial, data, torch.device("cpu"), 1, 0.5).result()


@pytest.fixture(scope="module")
def small_batch(data: TrialData) -> TrialProfile:
    """The profile of a trial with a batch size of 4."""
    (trial,) = heaviest_trials(small_sweep())
    return profile_in_new_process(trial, data)


def test_larger_batches_need_more_memory(small_batch: TrialProfile, data: TrialData) -> None:
    (trial,) = heaviest_trials(small_sweep(train={"batch_size": 128}))
    large_batch = profile_in_new_process(trial, data)
    # ResNet18's weights, gradients and two moments alone are four times 11 million numbers.
    assert 180e6 < small_batch.memory < 2e9
    assert small_batch.memory + 50e6 < large_batch.memory < 8e9
    assert small_batch.at_once == small_batch.micro_batch == 4
    assert 1e-4 < small_batch.val_seconds < small_batch.train_seconds < 5
    assert small_batch.gpu_memory is small_batch.gpu_busy is None


def test_each_fold_needs_memory_for_its_model(small_batch: TrialProfile, data: TrialData) -> None:
    (trial,) = heaviest_trials(small_sweep())
    three_folds = profile_in_new_process(trial, data.model_copy(update={"folds": data.folds * 3}))
    assert (small_batch.folds, three_folds.folds) == (1, 3)
    # Two more models of 11 million numbers, each with its gradient and two moments.
    assert three_folds.memory - small_batch.memory > 250e6


def test_memory_of_loader_processes_is_measured(data: TrialData) -> None:
    (trial,) = heaviest_trials(small_sweep(train={"loader_workers": 1}))
    profile = profile_in_new_process(trial, data)
    assert profile.loader_workers == 1
    assert 1e6 < profile.loader_memory < 1e9
