"""From a judge's reply, a decoded chat completion, to weights of the labels or grades.

A reply about two texts becomes two weights, one for each label: probabilities of the labels, or votes for them. A reply
about one text becomes grades from 1 to 10. Pure functions on decoded JSON.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

LABELS = ("A", "B")
GRADES = range(1, 11)
MIN_LABEL_PROBABILITY = 0.01  # below this the model means another answer, and the ratio of the labels is noise


class AnswerError(ValueError):
    """A reply without a judgment: `reason` is the same for all replies of its kind, `detail` quotes the reply."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


class ParameterError(AnswerError):
    """The endpoint refuses a parameter of the request: another method may do without it."""


def label_of(token: str | None) -> int | None:
    """0 for the label A, 1 for B, None for anything else. Blanks and marks around it are ignored; case is not."""
    stripped = (token or "").strip(" \t\r\n\"'*()[].:Ġ▁")
    return LABELS.index(stripped) if stripped in LABELS else None


def label_of_token(token: str) -> int | None:
    """As `label_of`, for an entry of `top_logprobs`: lower case and a byte in the form `<0x41>` are spellings, too."""
    if found := re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", token):
        token = chr(int(found[1], 16))
    return label_of(token.upper())


def weights_from_logprobs(reply: Mapping[str, Any]) -> tuple[float, float]:
    """Probabilities of the two labels as the first token, from a chat completion with `top_logprobs`.

    All tokens that spell a label are summed, also those with the same text: vocabularies with byte fallback have two
    for `A`. A label that is not among the listed tokens has weight 0. Raises AnswerError if the reply has no
    log-probabilities, if both labels together have less than 1 % probability, or if a label is not listed although it
    may be so likely that the preference is not a confident one.
    """
    choice = _choices(reply)[0]
    try:
        first = choice["logprobs"]["content"][0]
        listed = [(str(entry["token"]), _probability(entry)) for entry in first.get("top_logprobs") or []]
        sampled = str(first["token"]), _probability(first)
    except (KeyError, TypeError, IndexError, ValueError):
        reason = "the endpoint gives no log-probabilities (judge.method=votes needs none)"
        raise _no_answer(choice, reason) from None
    if not any(token == sampled[0] and math.isclose(p, sampled[1], abs_tol=1e-3) for token, p in listed):
        listed.append(sampled)  # most endpoints list the sampled token among the others, some do not
    weights = [0.0, 0.0]
    for token, probability in listed:
        if (label := label_of_token(token)) is not None:
            weights[label] += probability
    if not sum(weights) >= MIN_LABEL_PROBABILITY:  # also true if a log-probability is NaN
        raise _no_answer(choice, "neither label is among the likely first tokens")
    unlisted = min(min(p for _, p in listed), max(0.0, 1.0 - sum(p for _, p in listed)))  # most for any other token
    if not min(weights) and unlisted > max(weights) / 3:  # |2p - 1| may be below 1/2, and 1 would be stored
        raise AnswerError("one label is not among the listed tokens, and may be nearly as likely", _quoted(choice))
    return weights[0], weights[1]


def _probability(entry: Mapping[str, Any]) -> float:
    return math.exp(min(float(entry["logprob"]), 0.0))


def weights_from_votes(reply: Mapping[str, Any], num_votes: int) -> tuple[float, float]:
    """Votes for the two labels among the sampled choices of a chat completion.

    Raises AnswerError unless more than half of the `num_votes` choices are a label (as in the released code).
    """
    choices = _choices(reply)
    if 2 * len(choices) <= num_votes:
        raise AnswerError(
            "the reply has at most half of the requested votes (judge.method=separate_votes requests them one by one)",
            f"{len(choices)} of {num_votes}",
        )
    labels = [label_of(_content(choice)) for choice in choices]
    votes = float(labels.count(0)), float(labels.count(1))
    if not 2 * sum(votes) > num_votes:
        other = next((choice for choice, label in zip(choices, labels, strict=True) if label is None), choices[0])
        raise _no_answer(other, "at most half of the votes name a label")
    return votes


def vote_of(reply: Mapping[str, Any]) -> tuple[float, float]:
    """One vote for a label, if every vote is a separate call; raises AnswerError if the answer is no label."""
    choice = _choices(reply)[0]
    label = label_of(_content(choice))
    if label is None:
        raise _no_answer(choice, "the answer names no label")
    return (1.0, 0.0) if label == 0 else (0.0, 1.0)


def grades_from_votes(reply: Mapping[str, Any]) -> list[float]:
    """The grades, 1 to 10, in the choices of a chat completion; choices without a grade are left out.

    Raises AnswerError if no choice has a grade.
    """
    choices = _choices(reply)
    found = [grade for choice in choices if (grade := grade_of(_content(choice))) is not None]
    if not found:
        raise _no_answer(choices[0], "the answer gives no grade from 1 to 10")
    return [float(grade) for grade in found]


def grade_of(content: str | None) -> int | None:
    """The whole number from 1 to 10 in an answer such as `7`, `7/10` or `**7**`; None for anything else."""
    found = re.fullmatch(r"\W*(\d{1,2})(?:\s*/\s*10)?\W*", content or "")
    return int(found[1]) if found and int(found[1]) in GRADES else None


def num_choices(reply: Mapping[str, Any]) -> int:
    """Number of choices in a chat completion; raises AnswerError if the reply is not one."""
    return len(_choices(reply))


def has_logprobs(reply: Mapping[str, Any]) -> bool:
    """Whether a chat completion has log-probabilities; raises AnswerError if the reply is not one."""
    try:
        return bool(_choices(reply)[0]["logprobs"]["content"][0]["top_logprobs"])
    except (KeyError, TypeError, IndexError):
        return False


def usage(reply: Any) -> tuple[int, int] | None:
    """Tokens of prompt and completion as the endpoint reports them; None if it does not, or reports no prompt."""
    reported = reply.get("usage") if isinstance(reply, Mapping) else None
    if not isinstance(reported, Mapping):
        return None
    prompt, completion = reported.get("prompt_tokens"), reported.get("completion_tokens", 0)
    if isinstance(prompt, int) and isinstance(completion, int) and prompt > 0 and completion >= 0:
        return prompt, completion
    return None


def _choices(reply: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    choices = reply.get("choices") if isinstance(reply, Mapping) else None
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, Mapping) for choice in choices):
        raise AnswerError("the reply is not a chat completion", repr(reply)[:80])
    return choices


def _content(choice: Mapping[str, Any]) -> str | None:
    message = choice.get("message")
    content = message.get("content") if isinstance(message, Mapping) else None
    return content if isinstance(content, str) else None


def _quoted(choice: Mapping[str, Any]) -> str:
    finish = choice.get("finish_reason")
    ended = f" (finish_reason {finish})" if finish not in (None, "stop") else ""
    return f"the answer was {_content(choice)!r}"[:80] + ended


def _no_answer(choice: Mapping[str, Any], reason: str) -> AnswerError:
    """The error for a choice without a judgment: filtered, refused, or cut off, else for this reason."""
    message = choice.get("message")
    refusal = message.get("refusal") if isinstance(message, Mapping) else None
    if choice.get("finish_reason") == "content_filter":
        return AnswerError("the endpoint filtered the answer (finish_reason content_filter)", _quoted(choice))
    if refusal:
        return AnswerError("the judge refused to answer", str(refusal)[:160])
    if choice.get("finish_reason") == "length" and not (_content(choice) or "").strip():
        return AnswerError(
            "the answer was cut off before its first word (finish_reason length): raise the limit on its tokens in "
            "judge.request_options"
        )
    return AnswerError(reason, _quoted(choice))
