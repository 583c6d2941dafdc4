"""The response log: answers of earlier runs by the key of their request, and the tokens paid for them."""

from pathlib import Path

import pytest

from qurating.judging.endpoint.base import Request
from qurating.judging.endpoint.response_log import Answer, ResponseLog


def test_a_log_of_equal_requests_keeps_them_apart(tmp_path: Path) -> None:
    body = {"model": "m", "messages": []}
    keys = [Request(0, body, repeat).key() for repeat in range(3)]
    assert len(set(keys)) == 3
    response_log = ResponseLog(tmp_path / "j", remember=True)
    for number, key in enumerate(keys):
        response_log.add(key, Answer([float(number)], prompt_tokens=5))
    assert [response_log.get(key) for key in keys] == [Answer([float(n)], "", "", 5) for n in range(3)]
    response_log.close()
    again = ResponseLog(tmp_path / "j")
    assert [again.get(key) for key in keys] == [Answer([float(n)], "", "", 5) for n in range(3)]
    assert (again.prompt_tokens, again.num_usable, len(again)) == (15, 3, 3)
    again.close()


def test_tokens_of_batches_are_also_counted_apart(tmp_path: Path) -> None:
    """They have their own price, also in a run with the other transport."""
    response_log = ResponseLog(tmp_path / "j")
    response_log.add("aa" * 12, Answer([1.0], "", "", 1000, 10, batch=True))
    response_log.add("bb" * 12, Answer([1.0], "", "", 500, 5))
    assert (response_log.prompt_tokens, response_log.by_batch) == (1500, (1000, 10))
    response_log.close()
    again = ResponseLog(tmp_path / "j")
    assert (again.prompt_tokens, again.completion_tokens, again.by_batch) == (1500, 15, (1000, 10))
    again.close()


def test_lost_tokens_count_and_are_no_answer(tmp_path: Path) -> None:
    response_log = ResponseLog(tmp_path / "j")
    response_log.add_lost(0, 0)
    response_log.add_lost(300, 2)
    response_log.close()
    assert (tmp_path / "j").read_bytes().count(b"\n") == 1
    again = ResponseLog(tmp_path / "j")
    assert (again.prompt_tokens, again.completion_tokens, again.num_usable, len(again)) == (300, 2, 0, 0)
    again.close()


def test_answers_of_this_run_are_found_only_if_remembered(tmp_path: Path) -> None:
    response_log = ResponseLog(tmp_path / "j")
    response_log.add("aa" * 12, Answer([1.0]))
    response_log.add("bb" * 12, Answer(None, "prose", "half a \ud800 character"), remember=True)
    assert response_log.get("aa" * 12) is None
    assert response_log.get("bb" * 12) == Answer(None, "prose", "half a \ud800 character")
    response_log.close()


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_an_incomplete_last_line_is_dropped_and_the_next_answer_is_not(tmp_path: Path, kept: int) -> None:
    """A kill in the middle of a write: the lines before and after the incomplete one are read."""
    first, second, third = (f"{number:024x}" for number in range(3))
    response_log = ResponseLog(tmp_path / "j")
    for number, key in enumerate((first, second)):
        response_log.add(key, Answer([float(number)], prompt_tokens=10))
    response_log.close()
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    whole = kept == -1  # all but the line's end
    (tmp_path / "j").write_bytes(lines[0] + lines[1][:kept])
    response_log = ResponseLog(tmp_path / "j")
    assert response_log.get(second) == (Answer([1.0], "", "", 10) if whole else None)
    response_log.add(third, Answer([2.0], prompt_tokens=10))
    response_log.close()
    again = ResponseLog(tmp_path / "j")
    assert again.get(first) == Answer([0.0], "", "", 10)
    assert again.get(third) == Answer([2.0], "", "", 10)
    assert (len(again), again.prompt_tokens) == ((3, 30) if whole else (2, 20))
    again.close()


def test_a_changed_answer_is_dropped_and_counted(tmp_path: Path) -> None:
    keys = [f"{number:024x}" for number in range(3)]
    response_log = ResponseLog(tmp_path / "j")
    for key in keys:
        response_log.add(key, Answer([0.25], prompt_tokens=10))
    response_log.close()
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    (tmp_path / "j").write_bytes(
        lines[0] + lines[1].replace(b"0.25", b"0.75") + lines[2].replace(b',"crc32"', b',"crc33"')
    )
    again = ResponseLog(tmp_path / "j")
    assert [again.get(key) for key in keys] == [Answer([0.25], "", "", 10), None, None]
    assert (again.num_dropped, again.num_usable, again.prompt_tokens) == (2, 1, 10)
    again.close()


def test_lines_of_earlier_versions_have_no_checksum(tmp_path: Path) -> None:
    first, second = (f"{number:024x}" for number in range(2))
    (tmp_path / "j").write_text(f'{{"key": "{first}", "values": [0.5], "prompt_tokens": 7}}\n')
    response_log = ResponseLog(tmp_path / "j")
    response_log.add(second, Answer([0.25]))
    response_log.close()
    again = ResponseLog(tmp_path / "j")
    assert again.get(first) == Answer([0.5], None, None, 7)  # type: ignore[arg-type]
    assert again.get(second) == Answer([0.25])
    assert (len(again), again.num_dropped) == (2, 0)
    again.close()


def test_a_text_with_the_name_of_the_checksum_is_no_checksum(tmp_path: Path) -> None:
    key = "0" * 24
    response_log = ResponseLog(tmp_path / "j")
    response_log.add(key, Answer(None, "prose", 'it said ","crc32":12}'))
    response_log.close()
    again = ResponseLog(tmp_path / "j")
    assert again.get(key) == Answer(None, "prose", 'it said ","crc32":12}')
    again.close()
