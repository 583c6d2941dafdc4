"""Real text that every Python installation has, as a corpus: no download, and the same text in every run on a machine.

Seven domains: the language reference (`pydoc_data.topics`), docstrings of the standard library, docstrings of the
installed packages, their READMEs, their licences, their source code, and tables (numbers in text files). Nothing is
imported to read its docstrings, and no more files are parsed than the caps need.

A module gives its docstrings or its source, never both, and a document is skipped if half of it occurred before. So
held-out text does not occur in the training text under another name. Also skipped are `test` folders, this project,
files that are not UTF-8, and documents that contain a path of this machine.
"""

import ast
import contextlib
import dataclasses
import email
import functools
import gc
import hashlib
import itertools
import os
import sys
import sysconfig
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from qurating.corpus.readers import BadRow, Document

SKIPPED_FOLDERS = frozenset(
    ("__pycache__", "test", "tests", "testing", "idle_test", "site-packages", "dist-packages", "qurating")
)
TABLE_SUFFIXES = frozenset((".csv", ".tsv", ".tab", ".txt", ".dat", ".json", ".afm"))
MIN_DIGITS_IN_TABLES = 0.15  # of the characters other than white space
LICENCE_NAMES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT")
WORDS_PER_SHINGLE = 8
MAX_SEEN_SHINGLES = 0.5


class Candidate(NamedTuple):
    """A text and its name within its domain."""

    name: str
    text: str


class File(NamedTuple):
    """A file of the installation and its path below the library folder, with forward slashes."""

    name: str
    path: Path


@dataclasses.dataclass
class Embedded:
    """The embedded corpus as a reader (see `qurating.corpus.readers`).

    Each domain takes documents in the order of a hash of their names, until the next one would exceed
    `max_characters_per_domain`. Documents longer than `max_characters_per_document`, or than a tenth of the cap of the
    domain, are skipped, so that none dominates its domain; so are documents of fewer than `min_words` words.
    """

    max_characters_per_domain: int = 2_000_000
    max_characters_per_document: int = 60_000
    min_words: int = 20
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
        packages = package_files()
        modules = [file for file in packages if file.name.endswith(".py")]
        domains: dict[str, Iterable[Candidate]] = {
            "language_reference": _language_reference(),
            "stdlib_docstrings": _docstrings(_standard_library()),
            "package_docstrings": _docstrings(file for file in modules if _gives_docstrings(file)),
            "package_readmes": _readmes(packages),
            "licences": _licences(packages),
            "source_code": _texts(file for file in modules if not _gives_docstrings(file)),
            "tabular_data": _tables(packages),
        }
        seen: set[bytes] = set()
        paths = machine_paths()
        return [document for domain, found in domains.items() for document in self._admit(domain, found, seen, paths)]

    def _admit(
        self, domain: str, candidates: Iterable[Candidate], seen: set[bytes], paths: list[str]
    ) -> Iterator[Document]:
        room = self.max_characters_per_domain
        longest = min(self.max_characters_per_document, self.max_characters_per_domain // 10)
        for name, text in candidates:
            text = text.replace("\r\n", "\n").strip()
            words = text.split()
            if len(words) < self.min_words:
                self.skipped["short"] += 1
            elif len(text) > longest:
                self.skipped["long"] += 1
            elif "\x00" in text or any(path in text for path in paths):
                self.skipped["binary or with a machine's path"] += 1
            elif sum(map(seen.__contains__, shingles := _shingles(words))) >= MAX_SEEN_SHINGLES * len(shingles):
                self.skipped["duplicate"] += 1
            elif len(text) > room:
                return
            else:
                room -= len(text)
                seen.update(shingles)
                yield Document(f"{domain}/{name}", domain, text)


def machine_paths() -> list[str]:
    """Paths that identify this machine or its user; `/usr` and the like are the same everywhere and do not count."""
    roots = {sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()}
    roots |= {os.path.realpath(root) for root in roots}
    home = {str(Path.home()) + os.sep} - {os.sep * 2}
    return sorted({root for root in roots if len(Path(root).parts) > 2} | home)


def _hash(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def _gives_docstrings(file: File) -> bool:
    return _hash(file.name)[0] % 2 == 0


def _walk(root: Path) -> Iterator[File]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith("qurating-")]
        for name in names:
            path = Path(folder, name)
            yield File(path.relative_to(root).as_posix(), path)


def _sorted_by_hash(files: Iterable[File]) -> list[File]:
    return sorted(files, key=lambda file: (_hash(file.name), file.name))


def _standard_library() -> list[File]:
    return _sorted_by_hash(file for file in _walk(Path(sysconfig.get_path("stdlib"))) if file.name.endswith(".py"))


def package_files() -> list[File]:
    """The files of the installed packages; if two library folders have a file of one name, the first one counts."""
    roots = dict.fromkeys(Path(os.path.realpath(sysconfig.get_path(key))) for key in ("purelib", "platlib"))
    found: dict[str, File] = {}
    for file in itertools.chain.from_iterable(_walk(root) for root in roots):
        found.setdefault(file.name, file)
    return _sorted_by_hash(found.values())


def _read(file: File) -> str | None:
    try:
        return file.path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None


def _texts(files: Iterable[File]) -> Iterator[Candidate]:
    for file in files:
        text = _read(file)
        if text is not None:
            yield Candidate(file.name, text)


def _language_reference() -> list[Candidate]:
    from pydoc_data.topics import topics

    return sorted(itertools.starmap(Candidate, topics.items()), key=lambda topic: _hash(topic.name))


def _docstrings(files: Iterable[File]) -> Iterator[Candidate]:
    for name, text in _texts(files):
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if '"""' in text or "'''" in text:
            yield from docstrings(text, module)


def docstrings(source: str, module: str) -> Iterator[Candidate]:
    """The docstrings of a module, its classes, their methods, and its functions, by qualified name.

    The second of one name is `name#2`. Definitions under an `if` or within a function are skipped. A module that does
    not parse gives none.
    """
    with warnings.catch_warnings(), _no_garbage_collection():
        warnings.simplefilter("ignore")  # invalid escapes in strings of other projects
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):
            return
    times: Counter[str] = Counter()
    open_nodes: list[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]] = [(module, tree)]
    while open_nodes:
        name, node = open_nodes.pop()
        text = ast.get_docstring(node)
        if text:
            times[name] += 1
            yield Candidate(name if times[name] == 1 else f"{name}#{times[name]}", text)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            open_nodes += [
                (f"{name}.{child.name}", child)
                for child in reversed(node.body)
                if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            ]


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Stop garbage collection while parsing: the many small objects trigger it, and without it parsing takes half."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _readmes(files: Iterable[File]) -> Iterator[Candidate]:
    metadata = (".dist-info/METADATA", ".egg-info/PKG-INFO")
    for file, text in _texts(file for file in files if file.name.endswith(metadata)):
        parsed = email.message_from_string(text)
        body = parsed.get_payload()
        readme = body if isinstance(body, str) and body.strip() else parsed.get("Description") or ""
        yield Candidate(file.rpartition("/")[0], readme)


def _licences(files: Iterable[File]) -> Iterator[Candidate]:
    for file in files:
        upper = file.path.name.upper()
        if upper.startswith(LICENCE_NAMES) and not upper.endswith((".PY", ".PYI", ".JSON", ".HTML")):
            yield from _texts([file])


def _tables(files: Iterable[File]) -> Iterator[Candidate]:
    for file, text in _texts(file for file in files if file.path.suffix in TABLE_SUFFIXES):
        if sum(map(text.count, "0123456789")) > MIN_DIGITS_IN_TABLES * (len(text) - sum(map(text.count, " \t\n"))):
            yield Candidate(file, text)


def _shingles(words: list[str]) -> set[bytes]:
    """Hashes of runs of eight words: of those that begin with one word in four, or of all if the text is short."""
    lower = [word.lower() for word in words]
    starts: Sequence[int] = range(max(1, len(lower) - WORDS_PER_SHINGLE + 1))
    if len(lower) > 200:
        sampled = [start for start in starts if zlib.crc32(lower[start].encode()) % 4 == 0]
        starts = sampled or starts
    return {_hash(" ".join(lower[start : start + WORDS_PER_SHINGLE])) for start in starts}
