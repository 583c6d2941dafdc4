"""The embedded corpus of this very environment."""

import hashlib
import os
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import pytest
from repository import ROOT

from qurating.corpus.embedded import Candidate, Embedded, docstrings, machine_paths
from qurating.corpus.readers import Document

DOMAINS = {
    "language_reference",
    "stdlib_docstrings",
    "package_docstrings",
    "package_readmes",
    "licences",
    "source_code",
    "tabular_data",
}
CAP = 200_000


@pytest.fixture(scope="module")
def embedded() -> Embedded:
    return Embedded(max_characters_per_domain=CAP)


@pytest.fixture(scope="module")
def documents(embedded: Embedded) -> list[Document]:
    return list(embedded)


def test_every_domain_has_text_within_its_cap(documents: list[Document]) -> None:
    characters: Counter[str] = Counter()
    for document in documents:
        characters[document.domain] += len(document.text)
        assert document.document_id.startswith(document.domain + "/")
        assert len(document.text) <= CAP // 10
        assert len(document.text.split()) >= 20
    assert set(characters) == DOMAINS
    assert max(characters.values()) <= CAP
    assert characters["package_docstrings"] > 0.9 * CAP
    assert characters["source_code"] > 0.8 * CAP


def test_ids_are_unique_and_texts_differ(documents: list[Document]) -> None:
    assert len({document.document_id for document in documents}) == len(documents)
    assert len({" ".join(document.text.lower().split()) for document in documents}) == len(documents)


def test_no_path_of_this_machine_is_left(documents: list[Document]) -> None:
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), str(Path.home()) + os.sep, sys.prefix}
    for document in documents:
        for path in paths | set(machine_paths()):
            assert path not in document.text
            assert path not in document.document_id
        assert not document.document_id.split("/", 1)[1].startswith("/")


def test_documents_with_machine_paths_short_and_repeated_ones_are_left_out() -> None:
    words = (
        "a sentence of more than twenty words that says nothing at all but says it at some length {} so that it is kept"
    )
    texts = [
        words.format("first"),
        words.format("second"),
        words.format(sys.prefix),
        "short",
        words.upper(),
        "long " * 99,
    ]
    other = "quite another text which shares no eight words in a row with the first and is just about long enough"
    reader = Embedded(max_characters_per_domain=4000, max_characters_per_document=300)
    candidates = [Candidate(str(i), text) for i, text in enumerate([*texts, other])]
    found = list(reader._admit("d", candidates, set(), machine_paths()))
    assert [document.document_id for document in found] == ["d/0", "d/6"]
    assert sum(reader.skipped.values()) == 5
    assert reader.skipped["duplicate"] == 2


def test_tests_and_this_project_are_left_out(documents: list[Document]) -> None:
    for document in documents:
        parts = document.document_id.replace(".", "/").split("/")
        if document.domain in ("source_code", "tabular_data", "licences"):
            assert not {"test", "tests", "qurating"} & set(parts), document.document_id


def test_a_module_gives_docstrings_or_source() -> None:
    found = list(Embedded(max_characters_per_domain=400_000))
    source = {
        d.document_id.removeprefix("source_code/").removesuffix(".py") for d in found if d.domain == "source_code"
    }
    modules = {name.removesuffix("/__init__").replace("/", ".") for name in source}
    for document in found:
        if document.domain == "package_docstrings":
            name = document.document_id.removeprefix("package_docstrings/").split("#")[0]
            prefixes = {name.rsplit(".", n)[0] for n in range(3)}
            assert not modules & prefixes - {name.split(".")[0]}, name


def test_same_in_another_process_with_other_hashes(documents: list[Document]) -> None:
    program = (
        "import hashlib; from qurating.corpus.embedded import Embedded\n"
        f"found = [tuple(document) for document in Embedded(max_characters_per_domain={CAP})]\n"
        "print(hashlib.sha256(repr(found).encode()).hexdigest())"
    )
    root = ROOT
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(root)}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd="/", check=True
    )
    assert run.stdout.strip() == hashlib.sha256(repr([tuple(d) for d in documents]).encode()).hexdigest()


def test_iterating_again_gives_the_same(embedded: Embedded, documents: list[Document]) -> None:
    before = Counter(embedded.skipped)
    assert list(embedded) == documents
    assert embedded.skipped == before


def test_docstrings_of_a_module() -> None:
    source = '''
"""About the module."""
class A:
    """About A."""
    def f(self):
        """About
        f."""
        def inner():
            """Passed over."""
    @property
    def g(self): return 1
    async def h(self):
        "About h."
def f():
    """About the first f."""
def f():
    """About the second f."""
'''
    assert [tuple(found) for found in docstrings(source, "m")] == [
        ("m", "About the module."),
        ("m.A", "About A."),
        ("m.A.f", "About\nf."),
        ("m.A.h", "About h."),
        ("m.f", "About the first f."),
        ("m.f#2", "About the second f."),
    ]
    assert list(docstrings("def broken(:", "m")) == []
    assert list(docstrings("x = '\x00'", "m")) == []
