"""Bytes as each kind of compressed file, in one member or in several."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import zstandard

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
ENDINGS = ["", *COMPRESS]


def written(path: Path, content: bytes, members: int = 1) -> Path:
    """Write the content in the way that the ending of the path says, in about equal members."""
    compress = COMPRESS.get(path.suffix, bytes)
    size = -(-len(content) // members)
    path.write_bytes(b"".join(compress(content[start : start + size]) for start in range(0, len(content), size)))
    return path
