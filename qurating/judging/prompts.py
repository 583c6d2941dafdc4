"""The prompt to the judge: a template file, filled with a snippet of each text."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Messages = list[dict[str, str]]


class Prompt:
    """A Jinja2 template with a block `user` and optionally a block `system`.

    Its variables are `criterion` (a mapping with name, question and description) and the texts in `shows`: `text_a` and
    `text_b`, or `text`. A template that criteria share must show `criterion.question`.
    """

    def __init__(self, path: Path, shows: Sequence[str] = ("text_a", "text_b"), shared: bool = True) -> None:
        """Raises ValueError with the file and the line for an invalid template; FileNotFoundError if absent."""
        try:
            environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
            self._template = environment.from_string(path.read_text(encoding="utf-8"))
            self._roles = [role for role in ("system", "user") if role in self._template.blocks]
            if "user" not in self._roles:
                raise ValueError(f"{path}: the block {{% block user %}}, the message to the judge, is missing")
            self._shows = tuple(shows)
            marks = {name: f"\0{name}" for name in shows}
            probe = self.messages({"name": "\0n", "question": "\0q", "description": "\0d"}, *marks.values())
        except jinja2.TemplateSyntaxError as error:
            raise ValueError(f"{path}, line {error.lineno}: {error.message}") from None
        except jinja2.UndefinedError as error:
            raise ValueError(f"{path}: {error.message}; the variables are criterion, {' and '.join(shows)}") from None
        shown = "".join(message["content"] for message in probe)
        for name, mark in [*([("criterion.question", "\0q")] if shared else []), *marks.items()]:
            if mark not in shown:
                raise ValueError(f"{path}: the prompt does not show {{{{ {name} }}}}")

    def messages(self, criterion: Mapping[str, Any], *texts: str) -> Messages:
        """The chat messages about texts, in the order of `shows`, for a criterion.

        Closing tags (`</text_a>`) inside a text are broken up, so that no text can end itself early.
        """
        shown = [text.replace("</text", "< /text") for text in texts]
        context = self._template.new_context({"criterion": criterion, **dict(zip(self._shows, shown, strict=True))})
        return [
            {"role": role, "content": "".join(self._template.blocks[role](context)).strip()} for role in self._roles
        ]


def snippet(text: str, tokenizer: "Tokenizer", max_tokens: int, seed: int) -> str:
    """A random part of a text of at most `max_tokens` tokens, cut between characters.

    A longer text is cut to `max_tokens` with probability 1/2, else to a length from U[max_tokens / 2, max_tokens], at a
    random position (QuRating, released code). The result depends on the text, the tokenizer and `seed` alone.
    """
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    if len(offsets) <= max_tokens:
        return text
    draw = random.Random(seed)
    num_tokens = max_tokens if draw.random() < 0.5 else draw.randint(max(max_tokens // 2, 1), max_tokens)
    first = draw.randint(0, len(offsets) - num_tokens)
    return text[offsets[first][0] : offsets[first + num_tokens - 1][1]]
