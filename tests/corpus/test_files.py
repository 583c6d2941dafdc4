"""The files that patterns name, and the lines in them, compressed or not."""

import gzip
import random
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import zstandard

from qurating.corpus import files
from qurating.corpus.files import in_repository, lines_of, named_files, stem
from qurating.runtime.errors import StageError

# blank lines among them, but none at the end
TEXT = "\n".join(topics.values()).encode().rstrip()


def written(folder: Path, ending: str, content: bytes) -> Path:
    path = folder / f"text{ending}"
    compressed = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(path.suffix, bytes)
    path.write_bytes(compressed(content))
    return path


@pytest.mark.parametrize("ending", [".txt", ".jsonl.gz", ".jsonl.zst"])
@pytest.mark.parametrize("last", [b"", b"\n"])
def test_lines_are_those_of_the_text_however_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, last: bytes
) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", random.choice([1000, 4096, 1 << 20]))
    assert list(lines_of(written(tmp_path, ending, TEXT + last))) == TEXT.split(b"\n")


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_file_that_breaks_off_is_named_with_the_line(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path, ending, TEXT)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StageError, match=rf"text\{ending}, line \d+: the file is damaged or cut short"):
        list(lines_of(path))


def test_files_come_sorted_and_each_once(tmp_path: Path) -> None:
    for name in ("b/x.txt", "a/x.txt", "a/y.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    here = named_files([f"{tmp_path}/a/*", f"{tmp_path}/a/x.txt"])
    assert here == [(tmp_path / "a/x.txt", "x.txt"), (tmp_path / "a/y.txt", "y.txt")]
    # folders distinguish files of the same name
    assert [name for _, name in named_files(f"{tmp_path}/**/*.txt")] == ["a/x.txt", "a/y.txt", "b/x.txt"]
    with pytest.raises(StageError, match=r"is a folder; name its files, for example .*/a/\*\.jsonl"):
        named_files(f"{tmp_path}/a/")
    with pytest.raises(StageError, match=r"no file matches .*c\.txt"):
        named_files([f"{tmp_path}/a/*", f"{tmp_path}/c.txt"])


def test_a_stem_has_no_ending() -> None:
    assert stem(Path("folder.d/part.jsonl.zst")) == "part"
    assert stem(Path(".hidden")) == ".hidden"


def test_settings_of_the_repository_may_name_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert in_repository("~/prompt.txt") == tmp_path / "prompt.txt"
    assert in_repository(str(tmp_path / "x")) == tmp_path / "x"
    assert in_repository("conf/prices.yaml").is_file()
