"""Check an export before it starts; imports nothing that takes long."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from data.outputs import OutputFile, check_output_folder
from tuning.errors import TuningError

GRAPH_FILE, ONNX_FILE, MODEL_SETTINGS_FILE = "model.pt2", "model.onnx", "model.json"

EXPORT_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""Packages that only an export needs."""

_SETTINGS_HEAD = re.compile(rb'\A\{\s*"classes": \[')


class ExportError(TuningError):
    """A champion that can't be exported."""


def check_export(folder: Path) -> None:
    """Check that an export to this folder has the packages that it needs and replaces only an earlier export.

    Raises:
        DataError: the folder is that of a run, can't be written, or has files of these names that are no export.
        ExportError: packages are missing.
    """
    missing = [name for name in EXPORT_PACKAGES if find_spec(name) is None]
    if missing:
        raise ExportError(
            f"{', '.join(missing)} not installed; install with: python -m pip install -r requirements-export.txt"
        )
    settings = OutputFile(folder / MODEL_SETTINGS_FILE, "the settings of an export", _SETTINGS_HEAD)
    # The settings are written with the networks, and show better than these that all are of an export.
    networks_head = re.compile(b"") if settings.path.is_file() else None
    networks = [OutputFile(folder / name, "a network", networks_head) for name in (GRAPH_FILE, ONNX_FILE)]
    check_output_folder(folder, [settings, *networks])
