from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config  # noqa: TID251  Ray has no public check of these files.
from torch.utils.data import DataLoader

from tests.helpers.processes import LIMIT_SECONDS, PROJECT, call_in_new_process
from tuning.cluster import connect
from tuning.cluster.address import ClusterError, check_address, use_token_if_required
from tuning.cluster.connect import connected


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "127.0.0.1", ":6379", "host:port", "127.0.0.1:99999"])
def test_invalid_addresses_are_refused(address: str) -> None:
    with pytest.raises(ClusterError, match=address.replace("ray://", "")):
        check_address(address)


def test_project_in_a_folder_with_a_colon_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "PROJECT", Path("/home/me/a:b"))
    with (
        pytest.raises(ClusterError, match="'/home/me/a:b', the folder of this project, has a ':'"),
        connected(None, verbose=False),
    ):
        pytest.fail("Ray was started")


@pytest.fixture
def no_token_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set first: monkeypatch restores only what it changed, and Ray would use a mode that a test leaves behind.
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_MODE")


@pytest.mark.usefixtures("no_token_mode")
def test_token_mode_is_set_for_a_cluster_that_requires_a_token(ray_address: str) -> None:
    use_token_if_required(ray_address)
    assert os.environ["RAY_AUTH_MODE"] == "token"


@pytest.mark.usefixtures("no_token_mode")
def test_missing_token_raises(ray_address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ClusterError, match="requires a token: copy ~/.ray/auth_token"):
        use_token_if_required(ray_address)


@pytest.mark.usefixtures("no_token_mode")
def test_token_mode_is_not_set_for_a_cluster_without_tokens() -> None:
    """Any gRPC server stands for such a cluster: it does not answer that a token is missing."""
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        use_token_if_required(f"127.0.0.1:{port}")
    finally:
        server.stop(0)
    assert "RAY_AUTH_MODE" not in os.environ


def connect_with_state_api() -> None:
    with connected(None, verbose=False, state_api=True):
        print("the State API answers")


@pytest.mark.slow
def test_local_ray_serves_its_own_state_api(ray_address: str) -> None:
    """Although the cluster that was started last on this machine is another."""
    assert call_in_new_process(connect_with_state_api) == "the State API answers\n"


def batches_of_a_loader() -> int:
    return len(list(DataLoader(range(3), num_workers=1, timeout=LIMIT_SECONDS)))  # type: ignore[arg-type]


def print_batches() -> None:
    """Start Ray as a notebook's cell does, inside a running event loop, and run a task with a loader process."""
    # Of the cluster that other tests use.
    os.environ.pop("RAY_AUTH_TOKEN", None)

    async def cell() -> int:
        with connected(None, verbose=False):
            return ray.get(ray.remote(batches_of_a_loader).remote())

    print(asyncio.run(cell()))


@pytest.mark.slow
def test_local_ray_starts_in_an_odd_environment(tmp_path: Path) -> None:
    """A temporary folder whose path is too long for sockets, no home folder, a proxy that does not respond."""
    folder = tmp_path / ("x" * 90)
    folder.mkdir()
    dead = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    output = call_in_new_process(print_batches, TMPDIR=str(folder), HOME="/proc", no_proxy="", **dead)
    assert output.splitlines()[-1] == "3"
    assert "note: Ray's files go to " in output


def print_cluster_error() -> None:
    os.environ.pop("RAY_AUTH_TOKEN", None)
    try:
        with connected(None, verbose=False):
            print("started")
    except ClusterError as error:
        print(error)


@pytest.mark.slow
def test_reason_why_ray_does_not_start_is_one_line() -> None:
    output = call_in_new_process(print_cluster_error, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH="/nowhere/token")
    assert output.startswith("Ray can't be started here (")
    assert "/nowhere/token" in output
    assert output.count("\n") == 1


def cluster_config(file: str) -> dict[str, Any]:
    """The file as `ray up` reads it, checked by Ray."""
    config = prepare_config(yaml.safe_load((PROJECT / file).read_text()))
    validate_config(config)
    return config


def test_cloud_cluster_has_a_head_without_cpus_and_spot_gpu_workers_from_zero() -> None:
    config = cluster_config("cluster.yaml")
    types = config["available_node_types"]
    head, worker = types.pop(config["head_node_type"]), types.popitem()[1]
    assert not types
    assert head["resources"] == {"CPU": 0}
    assert worker["resources"]["GPU"] == 1
    assert (worker["min_workers"], worker["max_workers"]) == (0, config["max_workers"])
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert all(image.startswith(f"rayproject/ray:{_pinned('ray')}-py311") for image in images(config))
    # Placeholders, so that a launch fails until the user has filled in what is theirs.
    assert {kind["node_config"]["ImageId"] for kind in (head, worker)} == {"ami-REPLACE"}
    assert any("fs-REPLACE" in command for command in config["initialization_commands"])


def images(config: dict[str, Any]) -> list[str]:
    return [config["docker"]["head_image"], config["docker"]["worker_image"]]


def test_onprem_cluster_starts_all_machines_without_root() -> None:
    config = cluster_config("cluster-onprem.yaml")
    (kind,) = config["available_node_types"].values()
    assert kind["min_workers"] == kind["max_workers"] == len(config["provider"]["worker_ips"])
    commands = [command for name, value in config.items() if name.endswith("_commands") for command in value]
    assert not any("sudo" in command for command in commands)
    # Ray's newer autoscaler does not start these machines.
    assert "RAY_enable_autoscaler_v2=0" in config["head_start_ray_commands"][-1]


@pytest.mark.parametrize("file", ["cluster.yaml", "cluster-onprem.yaml"])
def test_cluster_requires_a_token_that_is_not_in_its_file(file: str) -> None:
    config = cluster_config(file)
    token = next(remote for remote, local in config["file_mounts"].items() if local == "~/.ray/auth_token")
    assert f"chmod 600 {token}" in config["setup_commands"]
    everywhere = any("RAY_AUTH_MODE=token" in option for option in config.get("docker", {}).get("run_options", []))
    starts = [config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]]
    assert everywhere or all("export RAY_AUTH_MODE=token" in start for start in starts)
    assert "RAY_AUTH_TOKEN=" not in (PROJECT / file).read_text()
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "--include-dashboard=true" in starts[0]


@pytest.mark.parametrize("file", ["cluster.yaml", "cluster-onprem.yaml"])
def test_every_node_installs_the_requirements(file: str) -> None:
    config = cluster_config(file)
    (remote,) = [remote for remote, local in config["file_mounts"].items() if local == "requirements.txt"]
    assert any(command.endswith(f"-r {remote}") for command in config["setup_commands"])


def _pinned(package: str) -> str:
    for line in (PROJECT / "requirements.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        if name.split("[")[0] == package:
            return version
    raise AssertionError(f"{package} is not pinned")
