"""The study of token efficiency: its corpus, its commands, and what it computes from language models."""

import collections
import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.efficiency import crawl, findings, junk, plots, study
from qurating.metrics import student
from qurating.runtime.errors import StageError

PROSE = "The reader opens a file and returns its lines, because the caller wants to see them one by one."
NAMES = ["json.decoder", "http.server", "zipfile"]


def test_prose_keeps_sentences_alone() -> None:
    code = ">>> f(x, y) == g(z)[0] + {1: 2} and h(3) or [4, 5, 6]."
    text = "\n\n".join(["Heading", PROSE, "x : int\n    The number.", code, PROSE])
    assert crawl.sentences(text) == f"{PROSE}\n\n{PROSE}"


def test_pieces_hold_the_whole_text_but_short_rests() -> None:
    text = "\n".join(f"{number} {PROSE}" for number in range(200))
    found = list(crawl.pieces([text, "short", text[:6_100]]))
    assert "\n".join(found[:-1]).split() == text.split()
    assert all(crawl.MIN_CHARACTERS <= len(piece) <= 6_000 for piece in found)
    assert text.startswith(found[-1])


def test_too_little_text_is_an_error() -> None:
    assert crawl.taken([PROSE] * 9, 2 * len(PROSE), "prose") == [PROSE] * 2
    with pytest.raises(StageError, match=r"too few characters of prose in a folder: 190 of 1,000\n.*num_characters"):
        crawl.taken([PROSE] * 2, 1_000, "prose in a folder")


def test_own_text_takes_the_place_of_the_prose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "a.txt").write_text(f"{PROSE} ä\n" * 40, encoding="utf-8")
    (tmp_path / "in/b.md").write_text(f"{PROSE} b\n" * 40)
    (tmp_path / "c.py").write_text("x = 1\n" * 100)
    texts = {kind: [kind * 100] * 50 for kind in crawl.SHARES}
    monkeypatch.setattr(crawl, "installed", lambda: texts)
    documents = list(crawl.Crawl(num_characters=20_000, own_text=str(tmp_path)))
    of = collections.defaultdict(list)
    for document in documents:
        of[document.domain].append(document.text)
    assert {line[:-2] for text in of["prose"] for line in text.splitlines()} == {PROSE}
    assert set(of["code"]) == {"code" * 100}
    assert len({document.document_id for document in documents}) == len(documents)
    (tmp_path / "d.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(StageError, match=r"d\.txt is not UTF-8"):
        list(crawl.own_prose(str(tmp_path)))
    with pytest.raises(StageError, match="has no text file"):
        list(crawl.own_prose(str(tmp_path / "nothing")))


def test_shares_are_a_whole() -> None:
    assert sum(crawl.SHARES.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "make",
    [
        lambda draw: junk.changelog(draw, NAMES),
        lambda draw: junk.menu(draw, NAMES),
        junk.table,
        lambda draw: junk.log(draw, NAMES),
        lambda draw: junk.licence(draw, [f"{number} {PROSE}" for number in range(9)]),
        junk.encoded,
    ],
)
def test_generated_junk_depends_on_its_seed_alone(make: Any) -> None:
    found = list(itertools.islice(crawl.generated("kind", make), 5))
    assert found == list(itertools.islice(crawl.generated("kind", make), 5))
    assert len(set(found)) == 5
    assert all(100 < len(text) <= 6_000 for text in found)


def test_another_language_has_one_word_for_each_word() -> None:
    text = "The reader reads. The writer, the reader!"
    for language in junk.SYLLABLES:
        found = junk.in_another_language(text, language)
        words = found.replace(".", "").replace(",", "").replace("!", "").lower().split()
        assert words[0] == words[3] == words[5]
        assert words[1] == words[6] != words[2]
        assert found[0].isupper()
        assert not set(words) & {"the", "reader", "reads", "writer"}
    assert len(set(junk.languages([text] * 4))) == 3


def test_minified_code_is_short() -> None:
    code = "# a comment\ndef read_lines(path):\n    return read_lines(path + 1)\n\nvalue_of = read_lines(2)\n"
    assert junk.minified(code) == "def a(path):;b a(path+1);c=a(2)"


def test_commands_name_choices_that_exist_and_make_what_the_tables_show() -> None:
    made: set[str] = set()
    names = [sweep.name for sweep in study.sweeps(study.Sizes())]
    assert len(set(names)) == len(names)
    for sweep in study.sweeps(study.Sizes()):
        assert sweep.part in study.BY_ALL
        assert set(sweep.after) <= set(names[: names.index(sweep.name)])
        given = {**{key: (value,) for key, value in sweep.fixed.items()}, **sweep.swept}
        for group in ("selection", "ordering", "criterion"):
            choices = {file.stem for at in (study.ROOT, study.HERE) for file in at.glob(f"conf/{group}/*.yaml")}
            assert set(given.get(group, ())) <= choices
        if "replicate" in sweep.swept:
            swept = [values for key, values in sweep.swept.items() if key != "replicate"]
            made |= {":".join([sweep.name, *map(str, choice)]) for choice in itertools.product(*swept)}
    assert {*findings.METHODS, *findings.MEDIUM} <= made
    for name in findings.ORDERS:
        head, *choice = name.split(":")
        assert {":".join([head, data, *choice]) for data in findings.DATA} <= made


def test_cells_are_known_by_their_overrides(tmp_path: Path) -> None:
    sweep = study.Sweep("main", "rated", {"selection": ("top_k", "pool"), "replicate": (0, 1)}, {"num_tokens": 5})
    given = itertools.product(("top_k", "pool"), (1, 0))
    for number, (selection, replicate) in enumerate(given):
        folder = tmp_path / "hydra/main_rated" / str(number)
        (folder / ".hydra").mkdir(parents=True)
        overrides = [f"selection={selection}", f"replicate={replicate}", "num_tokens=5"]
        (folder / ".hydra/overrides.yaml").write_text(yaml.safe_dump(overrides))
        (folder / "artifacts.json").write_text(json.dumps({"select": f"subsets/{number}", "judge": None}))
    assert study.made([sweep], tmp_path)[0] == []  # not complete
    (tmp_path / "done").mkdir()
    (tmp_path / "done/main_rated.json").write_text(json.dumps({"cpu_seconds": 60.0}))
    cells, seconds = study.made([sweep], tmp_path)
    assert [(cell.method, cell.replicate) for cell in cells] == [
        ("rated:top_k", 1),
        ("rated:top_k", 0),
        ("rated:pool", 1),
        ("rated:pool", 0),
    ]
    assert cells[2].folders == {"select": tmp_path / "subsets/2"}
    assert seconds["main"] == 60


def model(tokens: int, loss: float, draw: random.Random) -> findings.Found:
    losses = {kind: loss + draw.gauss(0, 0.01) for kind in findings.KINDS} | {"prose": loss}
    curve = [(tokens // 2, loss + 0.5), (tokens, loss)]
    shares = dict.fromkeys(findings.KINDS, 1 / len(findings.KINDS))
    return {
        "tokens": tokens,
        "parameters": 1000,
        "losses": losses,
        "shares": shares,
        "curve": curve,
        "ids": dict.fromkeys(range(4), 2),
    }


def uniform(offsets: list[float]) -> list[dict[int, findings.Found]]:
    """A loss that falls by 0.5 with each doubling."""
    draw = random.Random(0)
    budgets = (50, 100, 200, 400)
    return [
        {r: model(tokens, 5 + offset - 0.5 * math.log2(tokens / 100), draw) for r, offset in enumerate(offsets)}
        for tokens in budgets
    ]


def test_factors_are_read_from_the_curve_of_each_seed() -> None:
    base, draw = uniform([0.0, 0.2, -0.3]), random.Random(1)
    gains = (0.5, 0.75, 0.25)
    runs = {r: model(100, base[1][r]["losses"]["prose"] - gain, draw) for r, gain in enumerate(gains)}
    found = findings.factors(runs, base)
    assert found["each"] == pytest.approx([2, 2**1.5, 2**0.5])
    assert found["mean"] == pytest.approx(2)
    logs = [math.log(2) * each for each in (1, 1.5, 0.5)]
    assert [math.log(end) for end in found["interval"]] == pytest.approx(student.interval(logs))
    runs[0] = model(100, 3.0, draw)  # below the whole curve
    outside = findings.factors(runs, base)
    assert (outside["bound"], outside["interval"], outside["each"][0]) == ("above", None, 4)
    runs[1] = model(100, 9.0, draw)
    assert findings.factors(runs, base)["bound"] == "both"
    assert findings.factors({7: runs[0]}, base)["mean"] is None


def test_results_become_tables_and_figures(tmp_path: Path) -> None:
    base, draw = uniform([0.0, 0.2, -0.3]), random.Random(1)
    gains = (0.5, 0.75, 0.25)
    better = {r: model(100, base[1][r]["losses"]["prose"] - gain, draw) for r, gain in enumerate(gains)}
    half = {r: model(50, base[0][r]["losses"]["prose"] - gain, draw) for r, gain in enumerate(gains)}
    labels = {"LQS, top-k": better, "LQS, top-k, half the tokens": half}
    small = findings.compared(labels, base)
    assert small["methods"]["LQS, top-k"]["difference"]["mean"] == pytest.approx(-0.5)
    assert small["methods"]["LQS, top-k, half the tokens"]["difference"]["mean"] == pytest.approx(-0.5)
    runs = {
        "rated:top_k": better,
        "raters:1": better,
        "lqs:top_k": better,
        "folded:uniform": base[1],
        "folded:top_k": better,
    }
    found = {
        "small": small,
        "medium": small,
        "pipeline": findings.pipeline(runs, base),
        "folding": findings.folding(runs, {"uniform": base[1], "top_k": better}),
        "cpu_seconds": {"main": 90.0},
    }
    assert found["pipeline"]["educational value, top-k"]["shared"] == [1, 1]
    assert found["folding"]["all"][1]["difference"]["mean"] == 0
    json.dumps(found)
    tables = findings.tables(found)
    assert (
        "| LQS, top-k | 0K | 3 | 4.467 (0.029) | 2.00 [0.85, 4.73] | 2.0, 2.8, 1.4 | −0.50 [−1.12, +0.12] | 0.148 |"
        in tables["small"]
    )
    assert tables["corpus"] == findings.MISSING
    assert "| main | 1.5 |" in tables["cpu"]
    plots.draw_all(found, tmp_path)
    assert {file.stem for file in tmp_path.iterdir()} == {
        "factors_small",
        "factors_medium",
        "price",
        "sizes",
        "folding",
    }
    readme = (study.HERE / "README.md").read_text(encoding="utf-8")
    assert all(f"<!-- table:{name} -->" in readme for name in tables)
