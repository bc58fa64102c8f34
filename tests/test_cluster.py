from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tuning import cluster
from tuning.cluster import ClusterError, check_address, plan_slots
from tuning.config import ResourcesConfig
from tuning.job import Slot

PROJECT = Path(__file__).parents[1]
LAPTOP = {"CPU": 2.0}
GPU_NODE = {"CPU": 16.0, "GPU": 2.0}
HEAD = {"CPU": 0.0}


def plan(monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, float]], **resources: float) -> tuple[Slot, int]:
    """On clusters that this machine can't be, Ray's list of nodes is the one thing that is given."""
    monkeypatch.setattr(cluster.ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
    return plan_slots(ResourcesConfig.model_validate(resources))


@pytest.mark.parametrize(
    ("nodes", "resources", "slot", "at_once"),
    [
        ([LAPTOP], {}, (1, 1.0, 0.0), 2),
        ([LAPTOP], {"workers": 2}, (2, 1.0, 0.0), 1),
        ([LAPTOP], {"cpus": 2}, (1, 2.0, 0.0), 1),
        ([GPU_NODE], {}, (1, 8.0, 1.0), 2),
        ([HEAD, GPU_NODE, GPU_NODE], {}, (1, 8.0, 1.0), 4),
        ([GPU_NODE], {"gpus": 0.5}, (1, 4.0, 0.5), 4),
        ([GPU_NODE], {"gpus": 0.4, "cpus": 1}, (1, 1.0, 0.4), 4),
        ([GPU_NODE], {"gpus": 2}, (1, 8.0, 2.0), 1),
        ([GPU_NODE, LAPTOP], {"gpus": 0}, (1, 1.0, 0.0), 18),
        ([HEAD], {"max_concurrent": 4, "gpus": 1, "cpus": 7}, (1, 7.0, 1.0), 4),
    ],
)
def test_trials_are_as_many_as_fit(
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[dict[str, float]],
    resources: dict[str, float],
    slot: tuple[int, float, float],
    at_once: int,
) -> None:
    found, fitting = plan(monkeypatch, nodes, **resources)
    assert (found.workers, found.cpus, found.gpus) == slot
    assert fitting == at_once


@pytest.mark.parametrize("resources", [{"cpus": 4}, {"gpus": 1}, {"workers": 3}])
def test_a_trial_that_fits_nowhere_is_refused(monkeypatch: pytest.MonkeyPatch, resources: dict[str, float]) -> None:
    with pytest.raises(ClusterError, match="^no trial fits: .* the largest node has 2 CPU and 0 GPU; lower"):
        plan(monkeypatch, [LAPTOP], **resources)


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "127.0.0.1", ":6379", "host:port", "127.0.0.1:99999"])
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(ClusterError, match=address.replace("ray://", "")):
        check_address(address)


def test_the_cluster_file_passes_rays_own_schema() -> None:
    config = yaml.safe_load((PROJECT / "cluster.yaml").read_text())
    prepared = prepare_config(config)
    validate_config(prepared)
    types = prepared["available_node_types"]
    assert types[prepared["head_node_type"]]["resources"] == {"CPU": 0}
    assert [kind["resources"].get("GPU") for name, kind in types.items() if name != "head"] == [1]
    assert f"ray:{_pinned('ray')}-" in config["docker"]["head_image"]


def _pinned(package: str) -> str:
    for line in (PROJECT / "requirements.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        if name.split("[")[0] == package:
            return version
    raise AssertionError(f"{package} is not pinned")
