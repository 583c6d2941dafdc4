"""A corpus as a crawl leaves it: a fifth to a quarter of its tokens are prose, the rest is junk of ten kinds.

| kind | what it is |
|---|---|
| `prose` | sentences of the language reference, of docstrings and of packages' READMEs; or one's own text |
| `code` | source files of packages |
| `languages` | other docstrings in three made languages: each word always becomes the same invented word |
| `changelogs` | release notes (generated, about names of the standard library) |
| `minified` | JavaScript and CSS of packages, then Python sources, without white space and with short names |
| `menus` | navigation, lists of links, page numbers (generated) |
| `tables` | tables of packages, then generated ones |
| `logs` | log files (generated) |
| `licences` | paragraphs of licences in random order: the same ones occur again and again |
| `base64` | random bytes (generated) |
| `shuffled` | still others, the words of each in random order |

Everything comes from this Python installation (`qurating.corpus.embedded`) or from fixed seeds: no download, and the
same text in every run in one environment.
"""

import dataclasses
import functools
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from experiments.efficiency import junk
from experiments.lqs import mixture
from qurating.corpus.embedded import Embedded, machine_paths, package_files
from qurating.corpus.readers import BadRow, Document
from qurating.runtime.errors import StageError

SHARES = {  # of the characters; a token of prose has more of them than one of base64
    "prose": 0.29,
    "code": 0.14,
    "languages": 0.12,
    "changelogs": 0.07,
    "minified": 0.07,
    "menus": 0.06,
    "tables": 0.05,
    "logs": 0.05,
    "licences": 0.06,
    "base64": 0.03,
    "shuffled": 0.06,
}
CHARACTERS_OF_A_DOMAIN = 5_000_000  # of the embedded corpus, before the prose is chosen
MIN_CHARACTERS = 300  # of a document; at most as many as mixture.MAX_CHARACTERS
MIN_WORDS, MIN_LETTERS = 8, 0.88  # of a paragraph of prose: words; the share of letters and spaces
CHARACTERS_OF_A_SCRIPT = 150_000  # so that one large file is not all there is
OWN_SUFFIXES = (".txt", ".md", ".rst")


@dataclasses.dataclass
class Crawl:
    """The corpus as a reader (see `qurating.corpus.readers`); the domain of a document is its kind.

    `num_characters` is the size of all kinds together, to within a document of each. `own_text` is a folder whose text
    files (.txt, .md and .rst in UTF-8, also in subfolders) take the place of the prose.
    """

    num_characters: int = 7_000_000
    own_text: str | None = None
    bad_rows: list[BadRow] = dataclasses.field(default_factory=list, init=False)
    skipped: Counter[str] = dataclasses.field(default_factory=Counter, init=False)

    def __iter__(self) -> Iterator[Document]:
        yield from self._documents

    def parts(self) -> list[Self]:
        return [self]

    def most_characters(self) -> int:
        return sum(len(document.text) for document in self._documents)

    @functools.cached_property
    def _documents(self) -> list[Document]:
        """All documents; cached, because finding them takes longer than any use of them."""
        prose_of = self.own_text or "this Python installation"
        found = installed() if self.own_text is None else installed() | {"prose": own_prose(self.own_text)}
        documents = []
        for kind, share in SHARES.items():
            texts = taken(found[kind], round(share * self.num_characters), f"{kind} in {prose_of}")
            documents += [Document(f"{kind}/{number:05}", kind, text) for number, text in enumerate(texts)]
        return documents


def taken(texts: Iterable[str], num_characters: int, what: str) -> list[str]:
    """The first texts with `num_characters` in all, to within a text.

    Raises:
        StageError: there are fewer; names `what`.
    """
    total, found = 0, []
    for text in texts:
        if total >= num_characters:
            break
        found.append(text)
        total += len(text)
    if total < num_characters:
        raise StageError(
            f"too few characters of {what}: {total:,} of {num_characters:,}\n"
            "  A smaller corpus needs fewer: corpus.reader.num_characters"
        )
    return found


def installed() -> dict[str, Iterable[str]]:
    """The documents of each kind; those that are generated do not end."""
    grouped: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, domain, text, *_ in Embedded(max_characters_per_domain=CHARACTERS_OF_A_DOMAIN):
        key = mixture.module_of(name.partition("/")[2]) if domain == "stdlib_docstrings" else name
        grouped[domain][key].append(text)
    texts = {domain: ["\n\n".join(parts) for parts in of.values()] for domain, of in grouped.items()}
    names = sorted(grouped["stdlib_docstrings"])
    docstrings, code = texts["package_docstrings"], texts["source_code"]
    prose = texts["language_reference"] + texts["stdlib_docstrings"] + texts["package_readmes"] + docstrings[::2]
    _draw("prose").shuffle(prose)  # mixes the sources
    licences = [part for text in texts["licences"] for part in text.split("\n\n") if len(part.split()) >= MIN_WORDS]
    return {
        "prose": pieces(map(sentences, prose)),
        "code": pieces(code[::2]),
        "languages": pieces(junk.languages(docstrings[1::4])),
        "changelogs": generated("changelogs", lambda draw: junk.changelog(draw, names)),
        "minified": pieces(map(junk.minified, itertools.chain(scripts(), code[1::2]))),
        "menus": generated("menus", lambda draw: junk.menu(draw, names)),
        "tables": itertools.chain(pieces(texts["tabular_data"]), generated("tables", junk.table)),
        "logs": generated("logs", lambda draw: junk.log(draw, names)),
        "licences": generated("licences", lambda draw: junk.licence(draw, licences)),
        "base64": generated("base64", junk.encoded),
        "shuffled": pieces(mixture.shuffled(text, _draw(text)) for text in docstrings[3::4]),
    }


def own_prose(folder: str) -> Iterator[str]:
    """The documents of the text files in a folder.

    Raises:
        StageError: there is no text file, or one is not UTF-8.
    """
    files = sorted(file for file in Path(folder).rglob("*") if file.suffix in OWN_SUFFIXES)
    if not files:
        raise StageError(f"{folder} has no text file ({', '.join(OWN_SUFFIXES)})")
    _draw("own text").shuffle(files)
    for file in files:
        try:
            yield from pieces([file.read_text(encoding="utf-8")])
        except UnicodeDecodeError as error:
            raise StageError(f"{file} is not UTF-8: {error}") from error


def sentences(text: str) -> str:
    """The paragraphs of a text that are sentences: no code, no lists of parameters, no headings."""
    kept = []
    for paragraph in text.replace("\r\n", "\n").split("\n\n"):
        words = paragraph.split()
        line = " ".join(words)
        plain = sum(letter.isalpha() or letter == " " for letter in line)
        if len(words) >= MIN_WORDS and plain >= MIN_LETTERS * len(line) and line[-1] in ".:!?":
            kept.append(line)
    return "\n\n".join(kept)


def pieces(texts: Iterable[str]) -> Iterator[str]:
    """Texts cut into documents, at ends of lines where there are any; shorter rests are left out."""
    for text in texts:
        rest = text.strip()
        while len(rest) >= MIN_CHARACTERS:
            piece = mixture.beginning(rest)
            rest = rest[len(piece) :].lstrip("\n")
            yield piece.strip()


def generated(kind: str, make: Callable[[random.Random], str]) -> Iterator[str]:
    """Documents without end, each from a seed of its own."""
    for number in itertools.count():
        yield mixture.beginning(make(_draw(f"{kind} {number}")))


def scripts() -> Iterator[str]:
    """JavaScript and style sheets of the installed packages."""
    paths: Sequence[str] = machine_paths()
    for file in package_files():
        if file.path.suffix in (".js", ".css"):
            text = file.path.read_text(encoding="utf-8", errors="ignore")[:CHARACTERS_OF_A_SCRIPT]
            if not any(path in text for path in paths):
                yield text


def _draw(name: str) -> random.Random:
    return random.Random(name)  # a string seeds by its SHA-512, on every machine alike
