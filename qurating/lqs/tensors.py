"""Tensors on disk, with notes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from qurating.artifacts.files import replacing


def write_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Any = None) -> None:
    """Write tensors and notes (anything that JSON can hold); the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(whole, temporary, {"notes": json.dumps(notes)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Tensors, on the CPU, and notes."""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["notes"])  # noqa: SIM118
