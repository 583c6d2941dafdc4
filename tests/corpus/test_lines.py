"""Lines of plain and compressed files, whole and damaged."""

import random
import re
import zlib
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import zstandard
from compression_example import COMPRESS, ENDINGS, written

from qurating.corpus import lines
from qurating.corpus.lines import DamagedFileError, lines_of
from qurating.runtime.errors import StageError

# blank lines among them, but none at the end
TEXT = "\n".join(topics.values()).encode().rstrip()


def readable(path: Path) -> tuple[list[bytes], DamagedFileError]:
    """The lines before the damage, and the damage."""
    found: list[bytes] = []
    with pytest.raises(DamagedFileError) as caught:
        found.extend(lines_of(path))  # keeps what came before the error
    return found, caught.value


@pytest.mark.parametrize("ending", [".txt", *COMPRESS])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("last", [b"", b"\n"])
def test_lines_are_those_of_the_text_however_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, members: int, last: bytes
) -> None:
    monkeypatch.setattr(lines, "CHUNK_BYTES", random.choice([1, 1000, 4096, 1 << 20]))
    assert list(lines_of(written(tmp_path / f"text{ending}", TEXT + last, members))) == TEXT.split(b"\n")


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("members", [1, 3])
def test_a_file_that_is_cut_short_gives_all_whole_lines_and_names_the_next(
    tmp_path: Path, ending: str, members: int
) -> None:
    path = written(tmp_path / f"text{ending}", TEXT, members)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    found, damage = readable(path)
    assert found == TEXT.split(b"\n")[: len(found)]
    assert damage.number == len(found) + 1
    assert re.match(rf".*text{ending}, line {damage.number}: the file is damaged or cut short here \(", str(damage))
    # a block of bzip2 is read as a whole or not at all; the others lose the end alone
    assert len(found) > len(TEXT.split(b"\n")) * (members - 1) / members - 200
    if ending == ".gz":
        assert len(found) > len(TEXT.split(b"\n")) - 10


@pytest.mark.parametrize("ending", COMPRESS)
def test_the_line_of_a_damage_is_exact(tmp_path: Path, ending: str) -> None:
    """The second of three members cannot be decompressed: the lines of the first are whole, and no other is given."""
    first, second, third = (b"%d\n" % number * 50_000 for number in (1, 2, 3))
    compress = COMPRESS[ending]
    middle = compress(second)
    path = tmp_path / f"text{ending}"
    path.write_bytes(compress(first + b"half a line") + b"\xff" * len(middle) + compress(third))
    found, damage = readable(path)
    assert found == first.split(b"\n")[:-1]
    assert damage.number == 50_001


def test_a_damage_within_a_chunk_is_found_to_the_line(tmp_path: Path) -> None:
    whole = b"".join(b"line %d\n" % number for number in range(20_000))
    stream = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    content = stream.compress(whole + b"half a l") + stream.flush(zlib.Z_FULL_FLUSH)
    path = tmp_path / "text.gz"
    path.write_bytes(content + b"\xff" * 1000)  # no block begins so
    assert path.stat().st_size < lines.CHUNK_BYTES  # the chunk that fails is the first
    found, damage = readable(path)
    assert found == whole.split(b"\n")[:-1]
    assert damage.number == 20_001


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_wrong_checksum_says_that_any_line_may_be_damaged(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path / f"text{ending}", TEXT + b"\n")
    content = bytearray(path.read_bytes())
    content[-8 if ending == ".gz" else -1] ^= 1
    path.write_bytes(content)
    found, damage = readable(path)
    assert found == TEXT.split(b"\n")
    assert re.search(r"(check|checksum)\b.*: any line before may be damaged too", str(damage))


@pytest.mark.parametrize("ending", COMPRESS)
def test_an_empty_compressed_file_is_damaged_and_an_empty_plain_one_is_not(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"text{ending}").touch()
    assert readable(tmp_path / f"text{ending}")[1].number == 1
    (tmp_path / "text").touch()
    assert list(lines_of(tmp_path / "text")) == []
    (tmp_path / f"none{ending}").write_bytes(COMPRESS[ending](b""))
    assert list(lines_of(tmp_path / f"none{ending}")) == []


@pytest.mark.parametrize("named", ENDINGS)
@pytest.mark.parametrize("made", ENDINGS)
def test_a_name_that_does_not_fit_the_content_is_said(tmp_path: Path, named: str, made: str) -> None:
    path = tmp_path / f"a.jsonl{named}"
    path.write_bytes(COMPRESS.get(made, bytes)(b'{"text": "x"}\n'))
    if named == made:
        assert list(lines_of(path)) == [b'{"text": "x"}']
        return
    expected = rf"rename it to a\.jsonl{made}$" if made else 'its content is none: it begins with b\'{"text":'
    with pytest.raises(StageError, match=expected):
        list(lines_of(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1\x15", "its content is Parquet, which corpus=parquet reads, not lines of text"),
        (b"PK\x03\x04\x14", "its content is a zip archive"),
        ('{"text": "x"}'.encode("utf-16"), "its content is UTF-16: convert it to UTF-8"),
    ],
)
def test_files_of_other_kinds_are_recognised(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(StageError, match=message):
        list(lines_of(tmp_path / "a.jsonl"))


def test_endings_count_in_capitals_too(tmp_path: Path) -> None:
    written(tmp_path / "a.gz", b"x\n").rename(tmp_path / "a.GZ")
    assert list(lines_of(tmp_path / "a.GZ")) == [b"x"]


def test_frames_to_be_skipped_and_padding(tmp_path: Path) -> None:
    skipped = b"\x50\x2a\x4d\x18\x04\x00\x00\x00size"
    (tmp_path / "a.zst").write_bytes(skipped + zstandard.compress(b"x\ny\n") + skipped + zstandard.compress(b"z"))
    assert list(lines_of(tmp_path / "a.zst")) == [b"x", b"y", b"z"]
    for ending in (".gz", ".xz"):
        (tmp_path / f"b{ending}").write_bytes(
            COMPRESS[ending](b"x\n") + bytes(512) + COMPRESS[ending](b"y") + bytes(64)
        )
        assert list(lines_of(tmp_path / f"b{ending}")) == [b"x", b"y"]
    # what was allocated and never written is no padding here
    (tmp_path / "c.zst").write_bytes(zstandard.compress(b"x\n") + bytes(512))
    assert readable(tmp_path / "c.zst")[0] == [b"x"]


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"absent\.jsonl cannot be read: No such file"):
        list(lines_of(tmp_path / "absent.jsonl"))
