"""The questions that lie inside lm_eval."""

import importlib.util

import pytest
from tasks_example import needs_lm_eval

from qurating.evaluation import mmlu_questions
from qurating.runtime.errors import StageError


@needs_lm_eval
def test_the_package_has_281_questions_of_57_subjects_with_four_answers() -> None:
    found = mmlu_questions.questions()
    assert len(found) == 281
    assert len({row["subject"] for row in found}) == 57
    for row in found:
        assert len(row["choices"]) == 4
        assert all(choice == choice.strip() != "" for choice in row["choices"])
        assert row["question"]
        assert not any(f"({letter}) " in row["choices"][3] for letter in "ABCDE"), row  # nothing runs into the last


@needs_lm_eval
def test_the_marked_answer_is_the_correct_one() -> None:
    found = {row["question"]: row["choices"][row["answer"]] for row in mmlu_questions.questions()}
    assert found["Which expression is equivalent to 5 x 9?"] == "(5 x 5) + (5 x 4)"
    assert found["Which of the following is the body cavity that contains the pituitary gland?"] == "Cranial"


@needs_lm_eval
def test_they_are_a_data_set_with_one_split() -> None:
    split = mmlu_questions.splits(version=1)["test"]
    assert split.num_rows == 281
    assert set(split.column_names) == {"subject", "question", "choices", "answer"}


def test_a_package_without_the_questions_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    mmlu_questions.questions.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StageError, match="are not in the package lm_eval"):
        mmlu_questions.questions()
    mmlu_questions.questions.cache_clear()
