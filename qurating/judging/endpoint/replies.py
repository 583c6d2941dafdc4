"""From a judge's reply, a decoded chat completion, to weights of the labels or grades.

A reply about two texts becomes two weights, one for each label: probabilities of the labels, or votes for them. A reply
about one text becomes grades from 1 to 10. Pure functions on decoded JSON.

Reasoning models think before they answer. Their thought stands in the content, before a closing tag, or in a field of
its own, or it is only counted. It is never read: the answer is what comes after it. If the tokens ran out before the
end of the answer, the text may be a part of the thought, so that no label counts that stands in it.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

LABELS = ("A", "B")
GRADES = range(1, 11)
MIN_LABEL_PROBABILITY = 0.01  # below this the model means another answer, and the ratio of the labels is noise

CUT_OFF = "the tokens ran out within the thought, or before the end of the answer: raise judge.max_thinking_tokens"
THOUGHT_FIRST = "the log-probabilities are those of a thought, not of the answer (judge.max_thinking_tokens)"
_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "thinking")  # of a message, by servers
_TAGS = r"(?:think|thinking|thought|reasoning|seed:think)"
_START = re.compile(rf"<{_TAGS}>|\[THINK\]|◁think▷|<\|channel\|>analysis", re.IGNORECASE)
_END = re.compile(rf"</{_TAGS}>|\[/THINK\]|◁/think▷|<\|channel\|>final<\|message\|>", re.IGNORECASE)

Found = TypeVar("Found")


class AnswerError(ValueError):
    """A reply without a judgment: `reason` is the same for all replies of its kind, `detail` quotes the reply."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


class ParameterError(AnswerError):
    """The endpoint refuses a parameter of the request: another method may do without it."""


def label_of_token(token: str) -> int | None:
    """0 for the label A, 1 for B, None for another entry of `top_logprobs`.

    Blanks and marks around a label, lower case and a byte in the form `<0x41>` are spellings of it.
    """
    if found := re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", token):
        token = chr(int(found[1], 16))
    spelt = token.upper().strip(" \t\r\n\"'*()[].:Ġ▁")
    return LABELS.index(spelt) if spelt in LABELS else None


def weights_from_logprobs(reply: Mapping[str, Any]) -> tuple[float, float]:
    """Probabilities of the two labels as the first token, from a chat completion with `top_logprobs`.

    All tokens that spell a label are summed, also those with the same text: vocabularies with byte fallback have two
    for `A`. A label that is not among the listed tokens has weight 0. Raises AnswerError if the reply has no
    log-probabilities, if the first token is that of a thought, if both labels together have less than 1 % probability,
    or if a label is not listed although it may be so likely that the preference is not a confident one.
    """
    choice = _choices(reply)[0]
    if shows_thought(reply):
        raise AnswerError(THOUGHT_FIRST, _quoted(choice))
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


def weights_from_votes(
    reply: Mapping[str, Any], num_votes: int, read: Callable[[str], int], thinks: bool = False
) -> tuple[float, float]:
    """Votes for the two labels among the sampled choices of a chat completion.

    `read`: the label in the words of an answer, 0 or 1; raises AnswerError. `thinks`: see `answer_of`.

    Raises AnswerError unless more than half of the `num_votes` choices are a label (as in the released code).
    """
    choices = _choices(reply)
    if 2 * len(choices) <= num_votes:
        raise AnswerError(
            "the reply has at most half of the requested votes (judge.method=separate_votes requests them one by one)",
            f"{len(choices)} of {num_votes}",
        )
    labels, errors = _each(choices, read, thinks or bool(thought_tokens(reply)))
    if not 2 * len(labels) > num_votes:
        most = _most_common(errors)
        raise AnswerError(f"at most half of the votes name a label: {most.reason}", most.detail)
    return float(labels.count(0)), float(labels.count(1))


def vote_of(reply: Mapping[str, Any], read: Callable[[str], int], thinks: bool = False) -> tuple[float, float]:
    """One vote for a label, if every vote is a separate call; raises AnswerError if the answer is no label."""
    labels, errors = _each(_choices(reply)[:1], read, thinks or bool(thought_tokens(reply)))
    if errors:
        raise errors[0]
    return (1.0, 0.0) if labels == [0] else (0.0, 1.0)


def grades_from_votes(reply: Mapping[str, Any], thinks: bool = False) -> list[float]:
    """The grades, 1 to 10, in the choices of a chat completion; choices without a grade are left out.

    Raises AnswerError if no choice has a grade.
    """
    found, errors = _each(_choices(reply), grade_of, thinks or bool(thought_tokens(reply)))
    if not found:
        raise _most_common(errors)
    return [float(grade) for grade in found]


def grade_of(answer: str) -> int:
    """The whole number from 1 to 10 in an answer such as `7`, `7/10` or `**7**`; raises AnswerError."""
    found = re.fullmatch(r"\W*(\d{1,2})(?:\s*/\s*10)?\W*", answer)
    if not (found and int(found[1]) in GRADES):
        raise AnswerError("the answer gives no grade from 1 to 10")
    return int(found[1])


def answer_of(choice: Mapping[str, Any], thinks: bool = False) -> str:
    """The words of an answer, without the thought before them.

    `thinks`: the judge thinks, even if this choice does not show it.

    Raises AnswerError if there is no answer: filtered, refused, empty, or cut off within the thought or after it.
    """
    message, finish = choice.get("message"), choice.get("finish_reason")
    content = _content(choice) or ""
    answer = content[max((end.end() for end in _END.finditer(content)), default=0) :]
    if finish == "content_filter":
        raise AnswerError("the endpoint filtered the answer (finish_reason content_filter)", _quoted(choice))
    if refusal := isinstance(message, Mapping) and message.get("refusal"):
        raise AnswerError("the judge refused to answer", str(refusal)[:160])
    if _START.search(answer):
        raise AnswerError(CUT_OFF, _quoted(choice))
    thinks = thinks or _shows_thought(choice)
    if thinks and finish == "length":  # some servers put a thought that was cut off into the content, without a tag
        raise AnswerError(CUT_OFF, _quoted(choice))
    if not answer.strip() and finish == "length":
        raise AnswerError(
            "the answer was cut off before its first word (finish_reason length): raise the limit on its tokens in "
            "judge.request_options"
        )
    if not answer.strip() and thinks:
        raise AnswerError("the judge gave no answer after its thought", _quoted(choice))
    return answer


def num_choices(reply: Mapping[str, Any]) -> int:
    """Number of choices in a chat completion; raises AnswerError if the reply is not one."""
    return len(_choices(reply))


def has_logprobs(reply: Mapping[str, Any]) -> bool:
    """Whether a chat completion has log-probabilities of the answer; raises AnswerError if the reply is not one."""
    try:
        return bool(_choices(reply)[0]["logprobs"]["content"][0]["top_logprobs"]) and not shows_thought(reply)
    except (KeyError, TypeError, IndexError):
        return False


def shows_thought(reply: Mapping[str, Any]) -> bool:
    """Whether the judge has thought before it answered; raises AnswerError if the reply is no chat completion."""
    return thought_tokens(reply) > 0 or any(_shows_thought(choice) for choice in _choices(reply))


def thought_tokens(reply: Any) -> int:
    """Tokens of the thoughts as the endpoint reports them; 0 if it does not."""
    reported = reply.get("usage") if isinstance(reply, Mapping) else None
    details = reported.get("completion_tokens_details") if isinstance(reported, Mapping) else None
    found = details.get("reasoning_tokens") if isinstance(details, Mapping) else None
    return max(found, 0) if isinstance(found, int) else 0


def without_thoughts(reply: Any) -> Any:
    """A reply without the words of its thoughts, which are long and may quote the texts; it is read as before."""
    choices = reply.get("choices") if isinstance(reply, Mapping) else None
    if not isinstance(choices, list):
        return reply
    hidden = thought_tokens(reply) > 0
    return {**reply, "choices": [_without_thought(choice, hidden) for choice in choices]}


def usage(reply: Any) -> tuple[int, int] | None:
    """Tokens of prompt and completion as the endpoint reports them; None if it does not, or reports no prompt.

    Thoughts are billed as completion. Some endpoints count them in the total alone, or beside the completion.
    """
    reported = reply.get("usage") if isinstance(reply, Mapping) else None
    if not isinstance(reported, Mapping):
        return None
    prompt, completion = reported.get("prompt_tokens"), reported.get("completion_tokens", 0)
    if not (isinstance(prompt, int) and isinstance(completion, int) and prompt > 0 and completion >= 0):
        return None
    total, thought = reported.get("total_tokens"), thought_tokens(reply)
    if isinstance(total, int) and total > prompt + completion:
        return prompt, total - prompt
    return prompt, completion + thought if thought > completion else completion


def _choices(reply: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    choices = reply.get("choices") if isinstance(reply, Mapping) else None
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, Mapping) for choice in choices):
        raise AnswerError("the reply is not a chat completion", repr(reply)[:80])
    return choices


def _each(
    choices: Sequence[Mapping[str, Any]], read: Callable[[str], Found], thinks: bool
) -> tuple[list[Found], list[AnswerError]]:
    """What `read` finds in the answers of the choices, and why not in the others."""
    found, errors = [], []
    for choice in choices:
        try:
            found.append(read(answer_of(choice, thinks)))
        except AnswerError as error:
            errors.append(AnswerError(error.reason, error.detail or _quoted(choice)))
    return found, errors


def _most_common(errors: Sequence[AnswerError]) -> AnswerError:
    """The first error of the most common reason."""
    ((reason, _),) = Counter(error.reason for error in errors).most_common(1)
    return next(error for error in errors if error.reason == reason)


def _no_answer(choice: Mapping[str, Any], reason: str) -> AnswerError:
    """The error for a choice without a judgment: filtered, refused, or cut off, else for this reason."""
    try:
        answer_of(choice)
    except AnswerError as error:
        return error
    return AnswerError(reason, _quoted(choice))


def _content(choice: Mapping[str, Any]) -> str | None:
    """The text of a message; of parts, as some endpoints give them, those that are text and no thought."""
    message = choice.get("message")
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
        return "".join(text for part in parts if isinstance(text := part.get("text"), str))
    return content if isinstance(content, str) else None


def _shows_thought(choice: Mapping[str, Any]) -> bool:
    message = choice.get("message")
    if not isinstance(message, Mapping):
        return False
    content = message.get("content")
    if isinstance(content, list) and any(isinstance(p, Mapping) and p.get("type") != "text" for p in content):
        return True
    text = _content(choice) or ""
    return bool(_START.search(text) or _END.search(text)) or any(message.get(name) for name in _THOUGHT_FIELDS)


def _without_thought(choice: Any, hidden: bool) -> Any:
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping) or not (hidden or _shows_thought(choice)):
        return choice
    answer = _content(choice)
    if answer is not None:
        answer = answer[max((end.end() for end in _END.finditer(answer)), default=0) :]
        unfinished = _START.search(answer)
        answer = unfinished[0] if unfinished else answer
    others = {name: value for name, value in message.items() if name not in _THOUGHT_FIELDS}
    return {**choice, "message": {**others, "content": answer, _THOUGHT_FIELDS[0]: "…"}}


def _quoted(choice: Mapping[str, Any]) -> str:
    """The answer, or the end of what came instead of it, which is longer only if the judge thinks."""
    finish, content = choice.get("finish_reason"), _content(choice)
    ended = f" (finish_reason {finish})" if finish not in (None, "stop") else ""
    shown = f"…{content[-60:]}" if content and len(content) > 60 and _shows_thought(choice) else content
    return f"the answer was {shown!r}"[:80] + ended
