"""Multiple-choice questions for use without a network: those of MMLU that lie inside the package lm_eval.

lm_eval has five solved questions of each of the 57 subjects, as examples for prompts; a question of more than four
answers, and those that it has lost, are left out.
"""

import functools
import importlib.util
import re
from pathlib import Path
from typing import Any

from qurating.artifacts.files import read_json
from qurating.runtime.errors import StageError

_FILE = "tasks/mmlu/flan_cot_fewshot/_cot_prompts.json"
_QUESTION = re.compile(
    r"Q: (?P<question>.*?)\s*\n\(A\)\s*(.*?)\s+\(B\)\s*(.*?)\s+\(C\)\s*(.*?)\s+\(D\)\s*((?:(?!\(E\)).)*?)\s*\n"
    r"A: .*The answer is \((?P<letter>[A-D])\)\.?\s*",
    re.DOTALL,
)


@functools.cache
def questions() -> tuple[dict[str, Any], ...]:
    """Each question: `subject`, `question`, the texts of four `choices`, and `answer`, the index of the correct one.

    Raises:
        StageError: lm_eval is not installed, or its release has no such questions.
    """
    package = importlib.util.find_spec("lm_eval")
    file = Path(package.origin).parent / _FILE if package and package.origin else None
    if file is None or not file.is_file():
        raise StageError(f"the questions of MMLU ({_FILE}) are not in the package lm_eval, or it is not installed")
    found = []
    for subject, prompt in read_json(file).items():
        for text in re.split(r"\n\n(?=Q: )", prompt)[1:]:
            if match := _QUESTION.fullmatch(text):
                question, *choices, letter = match.groups()
                answer = "ABCD".index(letter)
                found.append({"subject": subject, "question": question, "choices": choices, "answer": answer})
    return tuple(found)


def splits(**_: Any) -> dict[str, Any]:
    """The questions as the one split of a data set, for `mmlu_dev_questions.yaml`; lm_eval passes its metadata."""
    import datasets

    return {"test": datasets.Dataset.from_list(list(questions()))}
