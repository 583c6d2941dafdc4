"""Replies in the logs of earlier runs: several writers, damage, growth, and the index beside a large log."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from qurating.judging import earlier_replies
from qurating.judging.earlier_replies import EarlierReplies
from qurating.judging.endpoint.response_log import Answer, ResponseLog

KEYS = [f"{number:024x}" for number in range(40)]


def write(file: Path, numbers: range, value: float = 0.0, end: bytes = b"") -> None:
    response_log = ResponseLog(file)
    for number in numbers:
        response_log.add(KEYS[number], Answer([1.0]), [number + value])
    response_log.close()
    with open(file, "ab") as stream:
        stream.write(end)


@contextlib.contextmanager
def looking(folder: Path, without: Path | None = None) -> Iterator[tuple[EarlierReplies, ResponseLog]]:
    """The replies of a folder, and a new log that looks them up."""
    with contextlib.closing(EarlierReplies(folder, without)) as replies:
        (folder / "new").mkdir(exist_ok=True)
        with contextlib.closing(ResponseLog(folder / "new" / "log", earlier=replies)) as response_log:
            yield replies, response_log


def values(response_log: ResponseLog) -> dict[int, float]:
    found = {number: response_log.get(key, list) for number, key in enumerate(KEYS)}
    return {number: answer.values[0] for number, answer in found.items() if answer and answer.values}


def test_replies_of_all_logs_are_found_and_the_newest_counts(tmp_path: Path) -> None:
    write(tmp_path / "2.jsonl", range(20, 30), 0.5)
    write(tmp_path / "1.jsonl", range(0, 25))
    with looking(tmp_path) as (replies, response_log):
        assert len(replies) == 35
        assert values(response_log) == {n: n + 0.5 if n >= 20 else n for n in range(30)}
    write(tmp_path / "2.jsonl", range(20, 21), 0.25)
    with looking(tmp_path) as (_, response_log):
        assert values(response_log)[20] == 20.25
    with looking(tmp_path, without=tmp_path / "2.jsonl") as (_, response_log):
        assert values(response_log) == {n: n for n in range(25)}


def test_a_folder_that_does_not_exist_has_none(tmp_path: Path) -> None:
    replies = EarlierReplies(tmp_path / "absent")
    assert (len(replies), replies(KEYS[0], "00" * 8)) == (0, None)


def test_failures_and_lost_calls_are_not_found(tmp_path: Path) -> None:
    with contextlib.closing(ResponseLog(tmp_path / "1.jsonl")) as response_log:
        response_log.add(KEYS[0], Answer(None, "prose"))
        response_log.add_lost(3, 3)
    with looking(tmp_path) as (replies, response_log):
        assert (len(replies), replies.num_dropped) == (0, 0)
        assert response_log.get(KEYS[0], list) is None


@pytest.mark.parametrize("indexed_at", [1, 1 << 30])
def test_a_line_that_a_kill_cut_short_is_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indexed_at: int
) -> None:
    """With or without an index file; the log may go on after it."""
    monkeypatch.setattr(earlier_replies, "WORTH_AN_INDEX", indexed_at)
    write(tmp_path / "1.jsonl", range(5), end=b'{"key":"0123')
    for _ in range(2):
        with looking(tmp_path) as (replies, response_log):
            assert replies.num_dropped == 1
            assert values(response_log) == {n: n for n in range(5)}
    write(tmp_path / "1.jsonl", range(5, 10))  # the killed run goes on
    for _ in range(2):
        with looking(tmp_path) as (replies, response_log):
            assert replies.num_dropped == 1
            assert values(response_log) == {n: n for n in range(10)}
    assert (tmp_path / "1.jsonl.index.npy").exists() == (indexed_at == 1)


def test_the_index_goes_on_with_the_log_and_is_never_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earlier_replies, "WORTH_AN_INDEX", 1)
    log, index = tmp_path / "1.jsonl", tmp_path / "1.jsonl.index.npy"
    write(log, range(10))
    with looking(tmp_path):
        assert len(np.load(index)) == 11
    read = log.stat().st_size
    write(log, range(10, 20))
    with looking(tmp_path) as (_, response_log):
        assert values(response_log) == {n: n for n in range(20)}
        assert np.load(index)[0].tolist() == [log.stat().st_size, 0]
    # the first half is not read again: a change there is only noticed by the line itself
    content = log.read_bytes()
    lines = content[:read].replace(b'"reply":[3.0]', b'"reply":[4.0]')
    assert lines != content[:read]
    log.write_bytes(lines + content[read:])
    with looking(tmp_path) as (replies, response_log):
        assert len(replies) == 20
        assert values(response_log) == {n: n for n in range(20) if n != 3}
    for damaged in (b"", b"nonsense", index.read_bytes()[:-8]):
        index.write_bytes(damaged)
        with looking(tmp_path) as (replies, response_log):
            assert values(response_log) == {n: n for n in range(20) if n != 3}
            assert replies.num_dropped == 1
    log.unlink()
    write(log, range(30, 32))  # another, shorter log
    with looking(tmp_path) as (_, response_log):
        assert values(response_log) == {30: 30, 31: 31}


def test_keys_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    """As those of one request to several endpoints do, too."""
    assert len({key[:16] for key in KEYS}) == 1
    for endpoint in ("one", "another"):
        with contextlib.closing(ResponseLog(tmp_path / "0.jsonl", asked_of=endpoint)) as response_log:
            response_log.add(KEYS[0], Answer([1.0]), [len(endpoint)])
    write(tmp_path / "1.jsonl", range(10))
    write(tmp_path / "2.jsonl", range(5, 15), 0.5)
    with looking(tmp_path) as (_, response_log):
        assert values(response_log) == {n: n + 0.5 if n >= 5 else n for n in range(15)}
    with contextlib.closing(EarlierReplies(tmp_path)) as replies:
        for endpoint, value in (("one", 3), ("another", 7), ("third", None)):
            with contextlib.closing(ResponseLog(tmp_path / "new" / "log", False, endpoint, replies)) as response_log:
                assert response_log.reply(KEYS[0]) == (value and [value])


def test_a_log_that_is_deleted_meanwhile_answers_nothing(tmp_path: Path) -> None:
    write(tmp_path / "1.jsonl", range(3))
    write(tmp_path / "2.jsonl", range(3, 6))
    with looking(tmp_path) as (_, response_log):
        (tmp_path / "1.jsonl").unlink()
        assert values(response_log) == {n: n for n in range(3, 6)}


def test_a_line_is_json(tmp_path: Path) -> None:
    write(tmp_path / "1.jsonl", range(1))
    (line,) = (tmp_path / "1.jsonl").read_text().splitlines()
    assert set(json.loads(line)) == {"key", "endpoint", "reply", "time", "crc32"}
