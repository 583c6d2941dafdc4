"""Files of tensors with notes."""

from pathlib import Path

import torch

from qurating.lqs.tensors import read_tensors, write_tensors


def test_tensors_and_notes_are_read_as_written(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2).t(), "b": torch.randn(4, dtype=torch.float64)}
    write_tensors(tmp_path / "sub" / "file.safetensors", tensors, {"step": 3, "of": [1.5]})
    found, notes = read_tensors(tmp_path / "sub" / "file.safetensors")
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert notes == {"step": 3, "of": [1.5]}
    assert [file.name for file in (tmp_path / "sub").iterdir()] == ["file.safetensors"]
