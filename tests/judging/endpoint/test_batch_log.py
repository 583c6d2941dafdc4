"""The log of batches: what the next run knows about them, whenever a kill came."""

from pathlib import Path

from qurating.judging.endpoint.batch_log import BatchLog


def test_a_batch_goes_from_unidentified_to_under_way_to_done(tmp_path: Path) -> None:
    """Each state is what another run reads from the file."""
    log = BatchLog(tmp_path / "b")
    digest = log.digest("key 1, key 2", 0)
    log.note(digest, num_requests=2)
    again = BatchLog(tmp_path / "b")
    assert (again.unidentified(), again.under_way()) == ({digest}, [])
    log.note(digest, id="batch-7")
    again = BatchLog(tmp_path / "b")
    assert (again.unidentified(), again.under_way()) == (set(), [(digest, "batch-7")])
    log.note(digest, done="completed")
    again = BatchLog(tmp_path / "b")
    assert (again.unidentified(), again.under_way()) == (set(), [])


def test_a_batch_that_was_never_created_is_neither(tmp_path: Path) -> None:
    log = BatchLog(tmp_path / "b")
    log.note("0a", num_requests=2)
    log.note("0a", done="never made")
    assert (log.unidentified(), log.under_way()) == (set(), [])


def test_a_digest_is_the_same_in_every_run_until_its_batch_is_done(tmp_path: Path) -> None:
    log = BatchLog(tmp_path / "b")
    first = log.digest("keys", 0)
    log.note(first, num_requests=1, id="batch-0")
    assert BatchLog(tmp_path / "b").digest("keys", 0) == first
    assert len({first, log.digest("other keys", 0), log.digest("keys", 1)}) == 3
    log.note(first, done="expired")
    second = log.digest("keys", 0)
    assert second != first
    assert BatchLog(tmp_path / "b").digest("keys", 0) == second


def test_an_incomplete_line_is_dropped_and_the_next_one_is_not(tmp_path: Path) -> None:
    log = BatchLog(tmp_path / "b")
    log.note("0a", num_requests=2, id="batch-0")
    with open(tmp_path / "b", "ab") as stream:
        stream.write(b'{"digest": "0')
    log = BatchLog(tmp_path / "b")
    log.note("0b", num_requests=1, id="batch-1")
    assert BatchLog(tmp_path / "b").under_way() == [("0a", "batch-0"), ("0b", "batch-1")]
