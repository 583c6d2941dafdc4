"""The error for problems that the user can fix."""

import pickle
import traceback

import pytest

from qurating.runtime.errors import StageError
from qurating.runtime.workers import in_workers


def refuse(place: int) -> int:
    raise StageError(f"row {place}: there is no text; name another field")


def test_its_message_comes_back_from_another_process() -> None:
    with pytest.raises(StageError, match=r"^row 7: there is no text; name another field$"):
        list(in_workers(refuse, [7], 2))
    again = pickle.loads(pickle.dumps(StageError("set trainer.devices=1")))
    assert traceback.format_exception_only(again) == ["qurating.runtime.errors.StageError: set trainer.devices=1\n"]


def test_it_is_not_taken_for_an_error_of_the_libraries() -> None:
    """They are caught and told otherwise: what has been told already must pass through."""
    assert not issubclass(StageError, ValueError | OSError | RuntimeError | LookupError)
