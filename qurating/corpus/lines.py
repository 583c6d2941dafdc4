"""The lines of a file, plain or compressed, up to the end or to the place where it is damaged.

The ending of the name says how a file is compressed: .gz, .zst, .bz2, .xz. A file may have several members, one after
another, as parallel compressors write them.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import zstandard

from qurating.runtime.errors import StageError

CHUNK_BYTES = 1 << 16


class DamagedFileError(StageError):
    """A file that can be read only up to a place.

    Attributes:
        source: the file.
        number: of the first line (from 1) or row (from 0) that is lost, in whole or in part.
        unit: "line" or "row".
        reason: what the library said.
    """

    def __init__(self, source: Path, number: int, unit: str, reason: str) -> None:
        super().__init__(f"{source}, {unit} {number}: the file is damaged or cut short here ({reason})")
        self.source, self.number, self.unit, self.reason = source, number, unit, reason


def is_compressed(path: Path) -> bool:
    """Whether a file is compressed; raises StageError if its name and its first bytes disagree."""
    with open(path, "rb") as file:
        return _compression_of(path, file.read(_HEAD_BYTES)) is not None


def lines_of(path: Path) -> Iterator[bytes]:
    r"""The lines of a file, decompressed, without their ends (`\n`; a `\r` before it stays).

    Raises:
        DamagedFileError: a compressed file is damaged or cut short; all lines that can be read were given before. If a
            checksum is wrong, the message says that these may be damaged, too.
        StageError: the file cannot be opened; its content is not what its name says.
    """
    parts: list[bytes] = []
    number = 1
    try:
        for chunk in _chunks(path):
            first, *others = chunk.split(b"\n")
            parts.append(first)
            for other in others:
                yield b"".join(parts)
                number += 1
                parts = [other]
    except _DamageError as error:
        raise DamagedFileError(path, number, "line", str(error)) from None
    except OSError as error:
        raise StageError(f"{path} cannot be read: {error.strerror or error}") from None
    if any(parts):
        yield b"".join(parts)


class _DamageError(Exception):
    """Compressed data that cannot be decompressed."""


class _Decompressor(Protocol):
    """Of one member of a file."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class _Compression(NamedTuple):
    name: str
    magic: bytes
    decompressor: Callable[[], _Decompressor]
    padded: bool  # zero bytes may follow a member


_COMPRESSIONS = {
    ".gz": _Compression("gzip", b"\x1f\x8b", lambda: zlib.decompressobj(zlib.MAX_WBITS | 16), True),
    ".zst": _Compression("Zstandard", b"\x28\xb5\x2f\xfd", lambda: zstandard.ZstdDecompressor().decompressobj(), False),
    ".bz2": _Compression("bzip2", b"BZh", bz2.BZ2Decompressor, False),
    ".xz": _Compression("xz", b"\xfd7zXZ\x00", lzma.LZMADecompressor, True),
}
_OTHER_KINDS = {  # first bytes of files that hold no lines, and the way out
    b"PAR1": "Parquet, which corpus=parquet reads, not lines of text",
    b"PK\x03\x04": "a zip archive: unpack it",
    b"\xff\xfe": "UTF-16: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "UTF-16: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)",
}
_WRONG_CHECKSUM = ("incorrect data check", "incorrect length check", "checksum")  # in the words of zlib and zstd
_HEAD_BYTES = 8


def _compression_of(path: Path, head: bytes) -> _Compression | None:
    """How a file is compressed; raises StageError if its first bytes are not what its name says."""
    if head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F:
        head = _COMPRESSIONS[".zst"].magic  # a frame to be skipped, which parallel compressors put first
    for magic, kind in _OTHER_KINDS.items():
        if head.startswith(magic):
            raise StageError(f"{path}: its content is {kind}")
    named = _COMPRESSIONS.get(path.suffix.lower())
    for ending, compression in _COMPRESSIONS.items():
        if head.startswith(compression.magic) and compression is not named:
            stem = path.name if named is None else path.name.removesuffix(path.suffix)
            raise StageError(
                f"{path}: its content is {compression.name}, and its name says otherwise: rename it to {stem}{ending}"
            )
    if named is not None and head and not head.startswith(named.magic):
        raise StageError(
            f"{path}: its name says {named.name}, and its content is none: it begins with {head!r}. Rename it, or get "
            "it again"
        )
    return named


def _chunks(path: Path) -> Iterator[bytes]:
    """The content, decompressed; raises _DamageError after all that can be decompressed."""
    with open(path, "rb") as file:
        compression = _compression_of(path, file.read(_HEAD_BYTES))
        file.seek(0)
        if compression is None:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
            return
        given = 0
        try:
            for chunk in _decompressed(file, compression, exact_from=None):
                given += len(chunk)
                yield chunk
        except _DamageError as damage:
            # a decompressor keeps what it made of a chunk before it failed: once more, the chunk's bytes one by one
            exact_from = (file.tell() - 1) // CHUNK_BYTES * CHUNK_BYTES
            file.seek(0)
            position = 0
            try:
                for chunk in _decompressed(file, compression, exact_from):
                    if position + len(chunk) > given:
                        yield chunk[max(0, given - position) :]
                    position += len(chunk)
            except _DamageError:
                pass
            raise damage from None


def _decompressed(file: IO[bytes], compression: _Compression, exact_from: int | None) -> Iterator[bytes]:
    """All members of a compressed file; from the byte `exact_from` on it is read byte by byte."""
    member: _Decompressor | None = None
    is_empty = True
    while data := file.read(CHUNK_BYTES if exact_from is None or file.tell() < exact_from else 1):
        while data:
            if member is None:
                data = data if is_empty or not compression.padded else data.lstrip(b"\0")
                if not data:
                    break
                member, is_empty = compression.decompressor(), False
            try:
                chunk = member.decompress(data)
            except (zlib.error, zstandard.ZstdError, lzma.LZMAError, OSError, ValueError, EOFError) as error:
                said = str(error)
                if any(check in said for check in _WRONG_CHECKSUM):
                    said = f"{said}: any line before may be damaged too"
                raise _DamageError(said) from None
            yield chunk
            data = b""
            if member.eof:
                data, member = member.unused_data, None
    if member is not None:
        raise _DamageError(f"the {compression.name} data has no end")
    if is_empty:
        raise _DamageError("it is empty")
