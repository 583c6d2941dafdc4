"""The file that `write` makes: one page, no network, at most 10 MB, everything of the corpus escaped."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from analysis_example import Page
from rated_page_example import answered
from rated_page_example import write as write_input

from qurating.reports import answer
from qurating.reports.rated import page, tables
from qurating.runtime.errors import StageError

TEXT = "A sentence that says <b>something</b> & more. " * 20


@pytest.fixture(autouse=True)
def _no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "figure_library", lambda: 'const x = "</script><!-- <script>";')


def rows(number: int, text: str | None = TEXT) -> list[dict[str, Any]]:
    return [
        {"document_id": f"d{row}", "position": 0, "domain": f"domain {row % 3}", "text": text and f"{text}{row}"}
        for row in range(number)
    ]


def data_of(html: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_one_file_whose_policy_names_its_scripts_and_no_address(tmp_path: Path) -> None:
    folder = write_input(tmp_path / "a", rows(30))
    path = page.write(folder)
    assert path == folder / "report.html"
    assert {file.name for file in folder.iterdir()} == {
        "documents.parquet", "tables", "about.json", "answer.json", "warnings.json", "report.html",
    }  # fmt: skip
    html = path.read_text(encoding="utf-8")
    seen = Page(html)
    assert not [attributes for _, attributes in seen.tags if {"src", "srcset"} & attributes.keys()]
    assert not [tag for tag, _ in seen.tags if tag in ("link", "iframe", "object", "embed", "base", "img")]
    policy = next(a["content"] for tag, a in seen.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 1 + len(page._SCRIPTS)
    hashes = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    assert policy == (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )
    # what could end a script element was written otherwise, and means the same
    assert scripts[0] == r'const x = "\x3c/script>\x3c!-- \x3cscript>";'


def test_no_script_of_ours_parses_markup() -> None:
    folder = Path(page.__file__).parent
    for file in folder.glob("*.js"):
        code = file.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function|DOMParser", code
        )
        assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|https?://", code), file.name


def test_texts_and_facts_come_through_unchanged(tmp_path: Path) -> None:
    html = page.write(write_input(tmp_path / "a", rows(30))).read_text(encoding="utf-8")
    assert data_of(html, "texts") == [row["text"] for row in rows(30)]
    facts = data_of(html, "facts")
    assert facts["documents"]["shown"] == facts["documents"]["given"] == 30
    assert facts["warnings"] == ["The domain licences has few documents of several windows."]
    assert len(facts["sentences"]) == 4
    assert facts["sentences"][0] == facts["answer"]["helped"]
    assert facts["answer"]["sentences"] == answer.sentences(answered())
    uniform, best, _ = facts["answer"]["methods"]
    names = [["0", "evaluations/lm-uniform-0"], ["1", "evaluations/lm-uniform-1"]]
    assert uniform == {"elsewhere": {}, "evaluations": names}
    assert best["elsewhere"] == {"tables": 1.5}
    assert any(note.startswith("a note") for note in facts["answer"]["notes"])
    files = facts["about"]["manifests"]["corpus"]["corpora/embedded"]["files"]
    assert len(files) == page.MAX_FILES + 1
    assert files["…"] == "10 more, see manifest.json"
    assert facts["missing"] == {}


def test_every_table_may_be_absent(tmp_path: Path) -> None:
    folder = write_input(tmp_path / "a", rows(10))
    for file in (folder / "tables").iterdir():
        file.unlink()
    (folder / "about.json").unlink()
    (folder / "answer.json").unlink()
    (folder / "warnings.json").unlink()
    facts = data_of(page.write(folder).read_text(encoding="utf-8"), "facts")
    assert facts["missing"].keys() == tables.COLUMNS.keys()
    assert all(text for text in facts["missing"].values())
    assert facts["answer"] == {"helped": None, "sentences": [], "notes": [], "methods": []}


def test_hundreds_of_trainings_are_thinned(tmp_path: Path) -> None:
    folder = write_input(tmp_path / "a", rows(10))
    names = [f"method {number}" for number in range(33)]
    row = pq.read_table(folder / "tables/results.parquet").to_pylist()[1]
    results = [row | {"number": number, "method": name} for number, name in enumerate(names)]
    pq.write_table(pa.Table.from_pylist(results), folder / "tables/results.parquet")
    points = np.arange(400)
    curves = [
        pa.table({"number": np.full(400, number), "method": [names[number]] * 400, "replicate": [str(seed)] * 400,
                  "kind": [kind] * 400, "tokens": points * 1_000, "nats_per_token": 9 - points / 100})
        for number in range(33) for seed in range(3) for kind in ("heldout", "training")
    ]  # fmt: skip
    pq.write_table(pa.concat_tables(curves), folder / "tables/curves.parquet")
    (folder / "answer.json").write_text(json.dumps([answered()[1] | {"method": name} for name in names]))
    path = page.write(folder)
    shown = data_of(path.read_text(encoding="utf-8"), "facts")["tables"]["curves"]
    assert len(shown) <= tables.MAX_POINTS
    of_each: dict[Any, list[int]] = {}
    for each in shown:
        of_each.setdefault((each["number"], each["replicate"], each["kind"]), []).append(each["tokens"])
    assert len(of_each) == 33 * 3 * 2
    assert {(tokens[0], tokens[-1]) for tokens in of_each.values()} == {(0, 399_000)}
    assert path.stat().st_size < 3_000_000


def test_a_large_sample_makes_a_page_of_ten_megabytes(tmp_path: Path) -> None:
    letters = np.random.default_rng(0).choice(list("abcdefgh <&é\U0001f600"), 12_000)
    folder = write_input(tmp_path / "a", rows(1_200, "".join(letters)))
    path = page.write(folder)
    assert 9_900_000 < path.stat().st_size <= page.MAX_BYTES
    documents = data_of(path.read_text(encoding="utf-8"), "facts")["documents"]
    assert documents["shown"] < documents["given"] == 1_200
    assert documents["cut"] == 0


def test_manifests_that_are_too_large_are_told(tmp_path: Path) -> None:
    folder = write_input(tmp_path / "a", rows(3))
    about = {"manifests": {"corpus": {"corpora/a": {"config": "x" * page.MAX_BYTES}}}}
    (folder / "about.json").write_text(json.dumps(about))
    with pytest.raises(StageError, match="manifests alone"):
        page.write(folder)


def test_a_folder_of_another_stage_is_told(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"documents\.parquet"):
        page.write(tmp_path)


def test_a_second_writing_is_the_same_file(tmp_path: Path) -> None:
    folder = write_input(tmp_path / "a", rows(20))
    first = page.write(folder).read_bytes()
    assert page.write(folder).read_bytes() == first


def test_invalid_text_in_a_column(tmp_path: Path) -> None:
    folder = write_input(tmp_path / "a", rows(1))
    table = pq.read_table(folder / "documents.parquet")
    bad = pa.Array.from_buffers(pa.string(), 1, pa.array([b"a\xed\xa0\x80b"], pa.binary()).buffers())
    place = table.column_names.index("text")
    pq.write_table(table.set_column(place, "text", bad), folder / "documents.parquet")
    assert data_of(page.write(folder).read_text(encoding="utf-8"), "texts") == [r"a\xed\xa0\x80b"]
