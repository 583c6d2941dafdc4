"""Input files within the limits of a Batch API, and what can be read of its output files."""

import itertools
import json

import pytest
from endpoint_client import numbered_requests

from qurating.judging.endpoint.batch_files import Limits, packed, responses

REQUESTS = numbered_requests(120)  # lines of three lengths: one, two and three digits


@pytest.mark.parametrize(("max_requests", "max_bytes"), [(7, 10**6), (10**6, 1500), (9, 1500), (1, 1)])
def test_files_are_filled_within_both_limits(max_requests: int, max_bytes: int) -> None:
    files = [lines for lines, _ in packed(REQUESTS, Limits(max_requests, max_bytes, 0.0), lambda request: True)]
    assert [json.loads(line)["custom_id"] for line in itertools.chain(*files)] == [r.key() for r in REQUESTS]
    for lines, following in itertools.zip_longest(files, files[1:]):
        size = sum(len(line) + 1 for line in lines)
        assert len(lines) <= max_requests
        assert size <= max_bytes or len(lines) == 1  # a request that is too large alone is the endpoint's to refuse
        if following:
            assert len(lines) == max_requests or size + len(following[0]) + 1 > max_bytes


@pytest.mark.parametrize(("missing_bytes", "number"), [(0, 3), (1, 2)])
def test_the_end_of_a_line_counts_as_a_byte(missing_bytes: int, number: int) -> None:
    (everything, _), *_ = packed(REQUESTS, Limits(3, 10**6, 0.0), lambda request: True)
    size = len("".join(f"{line}\n" for line in everything))
    (lines, _), *_ = packed(REQUESTS, Limits(10, size - missing_bytes, 0.0), lambda request: True)
    assert len(lines) == number


def test_a_line_is_a_request_to_chat_completions() -> None:
    ((lines, _),) = packed(REQUESTS[:1], Limits(10, 10**6, 0.0), lambda request: True)
    assert [json.loads(line) for line in lines] == [
        {
            "custom_id": REQUESTS[0].key(),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": REQUESTS[0].body,
        }
    ]


@pytest.mark.parametrize(("refused", "sizes"), [(0, [0]), (3, [3]), (4, [4, 0]), (6, [4, 2])])
def test_nothing_is_packed_from_the_first_request_that_is_not_admitted(refused: int, sizes: list[int]) -> None:
    asked: list[int] = []

    def admit(request: object) -> bool:
        asked.append(len(asked))
        return len(asked) <= refused

    found = list(packed(REQUESTS, Limits(4, 10**6, 0.0), admit))
    assert [len(lines) for lines, _ in found] == sizes
    assert [stopped for _, stopped in found] == [False] * (len(sizes) - 1) + [True]
    assert len(asked) == refused + 1


def test_lines_that_cannot_be_read_are_left_out() -> None:
    entries = [
        {"custom_id": "0a", "response": {"status_code": 200, "body": {"value": 1}}},
        {"custom_id": "0b", "response": None, "error": {"code": "batch_expired"}},
        {"custom_id": "0c", "response": {"status_code": "200", "body": None}},
        {"custom_id": "not ours", "response": {"status_code": 200, "body": {}}},
        {"response": {"status_code": 200, "body": {}}},
        ["0d"],
    ]
    content = "\n".join(map(json.dumps, entries)).encode() + b'\n{"custom_id": "0e", "resp'
    assert list(responses(content)) == [
        ("0a", 200, {"value": 1}),
        ("0b", None, {"error": {"code": "batch_expired"}}),
        ("0c", None, {"error": None}),
    ]
