"""The label in the words of an answer: a label alone, or what the setting `label_pattern` accepts."""

from collections.abc import Iterable

import regex  # unlike `re`, it can stop a match that takes too long

from qurating.judging.endpoint.replies import LABELS, AnswerError
from qurating.judging.endpoint.response_log import Answer

# Accepts `a`, `Text A`, `Answer: A`, `**A**`, `The answer is text B.`, `\boxed{B}`: docs/judging.md offers it.
COMMON_FORMS = r"(?i)[\W_]*(?:(?:the|answer|label|text|is|boxed)[\W_]+)*([ab])[\W_]*"
MARKS = " \t\r\n\"'()[].:"  # around a label alone

NO_LABEL = "the answer names no label"
OTHER_FORM = "the answer is no label alone, but may name one in another form (see judge.label_pattern)"
TOO_SLOW = "judge.label_pattern takes too long on the answer"

MANY = 0.01  # of the votes: told
MAX_LENGTH = 1000  # of a pattern
MATCH_SECONDS = 0.5  # for one answer; a sound pattern takes microseconds
_FORMS: tuple[str, ...] = (
    "{}",
    "{}.",
    "**{}**",
    "({})",
    "Text {}",
    "text_{}",
    "Answer: {}",
    "Label: {}",
    "The answer is {}.",
)
_FORMS += ("<answer>{}</answer>", "\\boxed{{{}}}", "Answer: Text {}", "I prefer text {}.", "{} is a better text.")


class Labels:
    """Reads the label in an answer: 0 for A, 1 for B; raises AnswerError for an answer without one.

    Without a pattern, an answer is a label alone; blanks, quotes, brackets, a full stop or a colon may stand around it.
    A pattern has to match the whole answer, blanks at its ends aside, and what its groups match has to be one label.
    """

    def __init__(self, pattern: str | None = None) -> None:
        """Raises ValueError for a pattern that cannot be used (`check`)."""
        self._pattern = None if pattern is None else check(pattern)

    def __call__(self, answer: str) -> int:
        if self._pattern is None:
            alone = answer.strip(MARKS)
            if alone in LABELS:
                return LABELS.index(alone)
            raise AnswerError(OTHER_FORM if alone and _COMMON.fullmatch(answer.strip()) else NO_LABEL)
        try:
            label = _label_in(self._pattern, answer)
        except TimeoutError:
            raise AnswerError(TOO_SLOW) from None
        if label is None:
            raise AnswerError(NO_LABEL)
        return label


def check(pattern: str) -> "regex.Pattern[str]":
    """The compiled pattern; raises ValueError if it is invalid, has no group, is too slow, or favours a label."""
    if not (isinstance(pattern, str) and pattern):
        raise ValueError("it must be a regular expression, in quotes")
    if len(pattern) > MAX_LENGTH:
        raise ValueError(f"it has {len(pattern):,} characters, more than {MAX_LENGTH:,}")
    try:
        compiled = regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        raise ValueError(f"it is no regular expression ({error})") from None
    if not compiled.groups:
        raise ValueError("it has no group: put the label in brackets, as in (?i)text ([ab])")
    try:
        for text in _slow_texts(pattern):
            _label_in(compiled, text)
        for form in _FORMS:
            found = [_label_in(compiled, form.format(label)) for label in LABELS]
            if found not in ([None, None], [0, 1]):
                read = " and ".join(
                    f"`{form.format(label)}` as {'no label' if index is None else LABELS[index]}"
                    for label, index in zip(LABELS, found, strict=True)
                )
                raise ValueError(f"it does not treat the two labels alike: it reads {read}")
    except TimeoutError:
        raise ValueError("it takes too long on some answers: avoid a repetition within another, as in (a+)+") from None
    return compiled


def note(failures: Iterable[Answer], votes_without_label: float | None) -> str | None:
    """What to tell about answers that no label was read in; None if there is nothing to tell.

    `failures`: failed requests; `votes_without_label`: the share of the votes of the others.
    """
    of_form = [failure for failure in failures if failure.reason.endswith(OTHER_FORM)]
    told = []
    if of_form:
        told.append(
            f"{len(of_form):,} requests failed only because of the form of their answers ({of_form[0].detail}). To "
            f"accept such forms: 'judge.label_pattern=\"{COMMON_FORMS}\"'"
        )
    if votes_without_label and votes_without_label >= MANY:
        told.append(f"{100 * votes_without_label:.1f} % of the votes in the other replies name no label, and are lost")
    return ". ".join(told) or None


# also the beginning of such a form: one token may be all that was asked for
_COMMON = regex.compile(r"(?i)[\W_]*(?:(?:the|answer|label|text|is|boxed)(?:[\W_]+|$))*(?:[ab][\W_]*)?")


def _label_in(pattern: "regex.Pattern[str]", answer: str) -> int | None:
    """The one label that the groups of a pattern match in an answer; raises TimeoutError."""
    found = pattern.fullmatch(answer.strip(), timeout=MATCH_SECONDS)
    named = {group.upper() for group in found.groups() if group is not None} if found else set()
    return LABELS.index(named.pop()) if len(named) == 1 and named <= set(LABELS) else None


def _slow_texts(pattern: str) -> list[str]:
    """Long answers of what a pattern repeats, which do not match in the end: where a search may go back for ever."""
    units = {*"Ab 1*\n", *(character for character in pattern if character not in "\\[](){}?+|^$")}
    units |= {"A ", "ab", "text ", "the answer is "}
    return [unit * (2_000 // len(unit)) + "\0" for unit in sorted(units)]
