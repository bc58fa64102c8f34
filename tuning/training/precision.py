"""In which number format a forward pass is computed. Knows nothing of this project: a registered model carries it."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def choose_precision(wanted: str, device: torch.device) -> str:
    """`fp32`, `bf16` or `fp16`; `auto` takes the fastest that this device computes natively."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Mixed precision for one forward pass."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")
