from __future__ import annotations

from pathlib import Path

import torch

from tuning.training.precision import choose_precision


def test_choose_precision_returns_the_setting_or_what_the_cpu_supports() -> None:
    cpu = torch.device("cpu")
    assert choose_precision("fp32", cpu) == "fp32"
    assert choose_precision("bf16", cpu) == "bf16"
    flags = Path("/proc/cpuinfo").read_text()
    has_bf16 = "avx512_bf16" in flags or "amx_bf16" in flags
    assert choose_precision("auto", cpu) == ("bf16" if has_bf16 else "fp32")
