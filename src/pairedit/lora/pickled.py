"""Own files of torch.save: named tensors and nothing else, and no code in them ever runs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def unpickle(path: Path, content: bytes) -> dict[str, Tensor]:
    """Read a .pt file that holds named tensors and nothing else.

    Args:
        path: of the file, for messages.
        content: its bytes.

    Raises:
        ValueError: names the file and what it holds instead.
    """
    import torch

    try:
        tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        # The unpickler raises nearly anything on a damaged file.
        raise ValueError(
            f"{path}: not a file of tensors alone, refused unread; save it as .safetensors with "
            "the program that wrote it"
        ) from error
    if not isinstance(tensors, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in tensors.items()
    ):
        raise ValueError(
            f"{path}: not a mapping of names to tensors; save the LoRA alone as .safetensors with "
            "the program that wrote it"
        )
    for key, value in tensors.items():
        # A cast would drop imaginary parts, and scales that stand beside small numbers.
        if value.is_complex() or value.is_quantized or value.layout is not torch.strided:
            kind = str(value.dtype).removeprefix("torch.")
            raise ValueError(f"{path}: {key} is {kind}, expected plain numbers; save it as float16")
    return tensors
