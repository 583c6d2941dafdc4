"""A corpus of six kinds of text in equal parts, whose expected ranks for a target of the first kind are clear.

| kind | what it is |
|---|---|
| `prose` | docstrings of the standard library, those of one module as one document: the target's kind |
| `manuals` | Python's language reference and the READMEs of packages: other prose |
| `code` | source files of the packages |
| `shuffled` | docstrings of other modules than `prose` has, each document's words in random order |
| `boilerplate` | one paragraph of a licence, repeated |
| `random` | tokens of the vocabulary, all equally likely |

The texts come from this Python installation (`qurating.corpus.embedded`), without duplicates and without a download.
"""

import json
import random
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from qurating.corpus import tokenizing
from qurating.corpus.embedded import Embedded

KINDS = ("prose", "manuals", "code", "shuffled", "boilerplate", "random")
REAL = ("prose", "manuals", "code")
MAX_CHARACTERS = 6_000  # of a document: its beginning, so that no document outweighs the others
MIN_CHARACTERS = 400  # about a sequence: the gradients of shorter ones differ by their length alone
WORDS_OF_A_LICENCE = 40

Texts = dict[str, list[str]]


def build(folder: Path, num_tokens: int, vocabulary_size: int, seed: int) -> dict[str, int]:
    """Write `<kind>.jsonl` (`id`, `text`) for each kind and `tokenizer/`, trained on the real kinds alone.

    Args:
        num_tokens: of each kind, held-out documents included, to within a document.

    Returns:
        the number of documents of each kind.
    """
    found = real_texts((name, domain, text) for name, domain, text, *_ in Embedded(max_characters_per_domain=1_500_000))
    paragraph = found.pop("licence")[0]
    tokenizing.train_bpe((text for texts in found.values() for text in texts), vocabulary_size, folder / "tokenizer")
    texts = mixed(found, paragraph, tokenizing.load(folder / "tokenizer").tokenizer, num_tokens, seed)
    for kind, documents in texts.items():
        lines = (json.dumps({"id": f"{kind}/{i}", "text": text}) + "\n" for i, text in enumerate(documents))
        (folder / f"{kind}.jsonl").write_text("".join(lines), encoding="utf-8")
    return {kind: len(documents) for kind, documents in texts.items()}


def real_texts(documents: Iterable[tuple[str, str, str]]) -> Texts:
    """Texts of `prose`, `manuals`, `code`, and paragraphs of a `licence`, each at most MAX_CHARACTERS long.

    Args:
        documents: (id, domain, text) of the embedded corpus.
    """
    found: Texts = {"prose": [], "manuals": [], "code": [], "licence": []}
    modules: dict[str, list[str]] = {}
    for name, domain, text in documents:
        if domain == "stdlib_docstrings":
            modules.setdefault(module_of(name.partition("/")[2]), []).append(text)
        elif domain in ("language_reference", "package_readmes"):
            found["manuals"].append(beginning(text))
        elif domain == "source_code":
            found["code"].append(beginning(text))
        elif domain == "licences":
            found["licence"] += [p for p in text.split("\n\n") if len(p.split()) >= WORDS_OF_A_LICENCE]
    found["prose"] = [beginning("\n\n".join(parts)) for parts in modules.values()]
    random.Random(0).shuffle(found["manuals"])  # mixes both sources
    return {kind: [text for text in texts if len(text) >= MIN_CHARACTERS] for kind, texts in found.items()}


def module_of(name: str) -> str:
    """The module of the standard library that defines a qualified name; the first part of the name if none does."""
    parts = name.partition("#")[0].split(".")
    root = Path(sysconfig.get_path("stdlib"))
    for end in range(len(parts), 0, -1):
        path = root.joinpath(*parts[:end])
        if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file():
            return ".".join(parts[:end])
    return parts[0]


def beginning(text: str) -> str:
    """The first lines of a text, at most MAX_CHARACTERS; lines are whole if the first one fits."""
    return text if len(text) <= MAX_CHARACTERS else text[: text.rfind("\n", 0, MAX_CHARACTERS) + 1 or MAX_CHARACTERS]


def mixed(
    found: Mapping[str, Sequence[str]], paragraph: str, tokenizer: Tokenizer, num_tokens: int, seed: int
) -> Texts:
    """Documents of each kind, `num_tokens` tokens in total, to within a document.

    Args:
        found: texts of the real kinds.
        paragraph: the one to repeat.

    Raises:
        ValueError: a kind has fewer tokens.
    """
    draw = random.Random(seed)
    made = {kind: _taken(kind, found[kind], tokenizer, num_tokens) for kind in REAL}
    rest = [shuffled(text, draw) for text in found["prose"][len(made["prose"]) :]]
    made["shuffled"] = _taken("shuffled", rest, tokenizer, num_tokens)
    # as many documents as the prose has, of the same lengths
    lengths = [len(tokenizer.encode(text).ids) for text in made["prose"]]
    made["boilerplate"] = [repeated(paragraph, tokenizer, length) for length in lengths]
    plain = [token for token in map(_plain, tokenizer.get_vocab()) if token is not None]
    plain.sort()  # the vocabulary has no fixed order
    made["random"] = ["".join(draw.choices(plain, k=length)) for length in lengths]
    return {kind: made[kind] for kind in KINDS}


def shuffled(text: str, draw: random.Random) -> str:
    """The words of a text in random order."""
    words = text.split()
    draw.shuffle(words)
    return " ".join(words)


def repeated(paragraph: str, tokenizer: Tokenizer, num_tokens: int) -> str:
    """A paragraph repeated to about `num_tokens` tokens; the last repetition may be cut."""
    times = num_tokens / len(tokenizer.encode(paragraph + "\n\n").ids)
    unit = paragraph + "\n\n"
    return (unit * (int(times) + 1))[: round(times * len(unit))].strip()


def _plain(token: str) -> str | None:
    """The text of a token of printable ASCII; None for any other."""
    text = token.replace("Ġ", " ").replace("Ċ", "\n")
    printable = text.isascii() and (text.replace("\n", "").isprintable())
    return text if printable and token != tokenizing.END_OF_TEXT else None


def _taken(kind: str, texts: Sequence[str], tokenizer: Tokenizer, num_tokens: int) -> list[str]:
    """The first texts until they have `num_tokens` tokens."""
    total, taken = 0, []
    for text in texts:
        if total >= num_tokens:
            break
        taken.append(text)
        total += len(tokenizer.encode(text).ids)
    if total < num_tokens:
        raise ValueError(f"too few tokens of {kind}: {total:,} of {num_tokens:,}")
    return taken
