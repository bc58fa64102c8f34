"""Choose the precision of a forward pass. Imports nothing of this project: registered models contain a copy of it."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def choose_precision(setting: str, device: torch.device) -> str:
    """Return `fp32`, `bf16` or `fp16`: the setting, or for `auto` the fastest that the device supports natively."""
    if setting != "auto":
        return setting
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Return a context that runs a forward pass in mixed precision."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")
