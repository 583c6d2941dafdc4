"""The files of a corpus that patterns name, and their lines, compressed or not."""

import glob
import gzip
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from qurating.runtime.errors import StageError

CHUNK_BYTES = 1 << 20
ROOT = Path(__file__).parents[2]  # of the repository


def stem(path: Path) -> str:
    """The name of a file without its endings."""
    return path.name.split(".")[0] or path.name


def named_files(paths: str | Iterable[str]) -> list[tuple[Path, str]]:
    """The files that paths and patterns name, sorted, each with a short and unique name."""
    patterns = [paths] if isinstance(paths, str) else [str(path) for path in paths]
    found: set[Path] = set()
    for pattern in patterns:
        expanded = os.path.expanduser(pattern)
        if os.path.isdir(expanded):
            raise StageError(f"{pattern} is a folder; name its files, for example {pattern.rstrip('/')}/*.jsonl")
        matches = [expanded] if os.path.isfile(expanded) else glob.glob(expanded, recursive=True)
        files = [Path(match) for match in matches if os.path.isfile(match)]
        if not files:
            raise StageError(f"no file matches {pattern} (looked in {os.getcwd()})")
        found.update(files)
    return with_names(sorted(found))


def with_names(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Paths of files, each with its name; with the part of its folder that tells it apart, if two have the same."""
    if len({path.name for path in paths}) == len(paths):
        return [(path, path.name) for path in paths]
    common = os.path.commonpath([path.absolute().parent for path in paths])
    return [(path, path.absolute().relative_to(common).as_posix()) for path in paths]


def in_repository(path: str) -> Path:
    """The file of a setting whose paths are relative to the repository, such as `judge.prompt`; `~` is the home."""
    return ROOT / Path(path).expanduser()


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file, decompressed; raises StageError with the line at which a compressed file breaks off."""
    parts: list[bytes] = []
    number = 1
    try:
        with open(path, "rb") as file:
            for chunk in _chunks(path, file):
                first, *others = chunk.split(b"\n")
                parts.append(first)
                for other in others:
                    yield b"".join(parts)
                    number += 1
                    parts = [other]
    except (EOFError, OSError, ValueError) as error:
        raise StageError(f"{path}, line {number}: the file is damaged or cut short ({error})") from None
    if any(parts):
        yield b"".join(parts)


def _chunks(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    if path.suffix == ".zst":
        yield from _zstd_chunks(file)
        return
    stream: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _zstd_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """All frames of a Zstandard file; raises EOFError if the last is incomplete, ValueError if one is damaged."""
    import zstandard

    frame = None
    try:
        while compressed := file.read(CHUNK_BYTES):
            while compressed:
                if frame is None:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                yield frame.decompress(compressed)
                compressed = b""
                if frame.eof:
                    compressed, frame = frame.unused_data, None
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None
    if frame is not None:
        raise EOFError("the last frame has no end")
