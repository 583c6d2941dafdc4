"""The study of LQS: its mixture of texts, and what it computes from annotations."""

import collections
import random
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest
import torch

from experiments.lqs import analysis, findings, mixture
from qurating.corpus import tokenizing

PARAGRAPH = "Permission is granted to copy this text again and again, in whole or in part, as often as one likes."


@pytest.fixture(scope="module")
def found() -> mixture.Texts:
    """Real texts of three kinds, long enough."""
    texts = [text[:2000] for text in topics.values() if len(text) > 500]
    return {"prose": texts[:20], "manuals": texts[20:30], "code": [Path(mixture.__file__).read_text()[:3000]] * 4}


@pytest.fixture(scope="module")
def mixed(
    found: mixture.Texts, tmp_path_factory: pytest.TempPathFactory
) -> tuple[mixture.Texts, tokenizing.TextTokenizer]:
    folder = tmp_path_factory.mktemp("bpe")
    tokenizing.train_bpe((text for texts in found.values() for text in texts), 500, folder / "tokenizer")
    tokenizer = tokenizing.load(folder / "tokenizer")
    return mixture.mixed(found, PARAGRAPH, tokenizer.tokenizer, 3000, seed=1), tokenizer


def test_every_kind_has_its_share_of_tokens(mixed: tuple[mixture.Texts, tokenizing.TextTokenizer]) -> None:
    texts, tokenizer = mixed
    assert tuple(texts) == mixture.KINDS
    for kind, documents in texts.items():
        counts = [len(tokenizer.tokenizer.encode(text).ids) for text in documents]
        assert 0.9 * 3000 < sum(counts) <= 3000 + max(counts), kind


def test_shuffled_documents_are_the_words_of_other_prose(
    found: mixture.Texts, mixed: tuple[mixture.Texts, tokenizing.TextTokenizer]
) -> None:
    texts, _ = mixed
    bags = {frozenset(collections.Counter(text.split()).items()): text for text in found["prose"]}
    for text in texts["shuffled"]:
        source = bags[frozenset(collections.Counter(text.split()).items())]
        assert source not in texts["prose"]
        assert source.split() != text.split()


def test_boilerplate_repeats_and_random_tokens_do_not(
    mixed: tuple[mixture.Texts, tokenizing.TextTokenizer],
) -> None:
    texts, tokenizer = mixed
    for text in texts["boilerplate"]:
        assert set(text.split()) <= set(PARAGRAPH.split()) | {text.split()[-1]}
    ids = [i for text in texts["random"] for i in tokenizer.tokenizer.encode(text).ids]
    counts = np.sort(np.bincount(ids))[::-1]
    assert counts[:5].sum() < 0.1 * counts.sum()  # of real text the five commonest tokens are a fifth


def test_too_little_text_is_an_error(
    found: mixture.Texts, mixed: tuple[mixture.Texts, tokenizing.TextTokenizer]
) -> None:
    with pytest.raises(ValueError, match="tokens of prose"):
        mixture.mixed(found, PARAGRAPH, mixed[1].tokenizer, 10**6, seed=0)


def test_docstrings_of_a_module_become_one_document() -> None:
    text = "A docstring that says what its function does, at some length. " * 5
    documents = [
        ("stdlib_docstrings/json.decoder.JSONDecoder.decode", "stdlib_docstrings", text),
        ("stdlib_docstrings/json.decoder", "stdlib_docstrings", text),
        ("stdlib_docstrings/json", "stdlib_docstrings", text * 2),
        ("licences/x", "licences", "Short.\n\n" + "word " * 50),
    ]
    found = mixture.real_texts(documents)
    assert found["prose"] == [f"{text}\n\n{text}", text * 2]
    assert found["licence"] == []  # shorter than a document is
    assert mixture.module_of("json.decoder.JSONDecoder#2") == "json.decoder"


def test_a_documents_beginning_ends_with_a_line() -> None:
    text = "".join(f"line {i} of a long text\n" for i in range(1000))
    cut = mixture.beginning(text)
    assert text.startswith(cut)
    assert cut.endswith("text\n")
    assert mixture.MAX_CHARACTERS - 30 < len(cut) <= mixture.MAX_CHARACTERS
    assert len(mixture.beginning("x" * 10_000)) == mixture.MAX_CHARACTERS


def annotation(num_steps: int = 13, num_samples: int = 21) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.normal(size=(num_steps - 1, num_samples)), draw.uniform(0.5, 3, size=(num_steps, num_samples))


@pytest.mark.parametrize("interval", [1, 3, 5, 6])
@pytest.mark.parametrize("denominator", ["next_visited", "next_step", "same_step", "none"])
def test_scores_of_other_intervals_and_denominators(interval: int, denominator: str) -> None:
    dots, norms = annotation()
    expected = np.zeros(21)
    for t in range(1, 13):
        if t % interval:
            continue
        after = t + interval if t + interval <= 12 else 13
        at = {"next_visited": after, "next_step": t + 1, "same_step": t}.get(denominator)
        for n in range(21):
            expected[n] += dots[t - 1, n] / (1 if at is None else norms[at - 1, n])
    np.testing.assert_allclose(analysis.score(dots, norms, interval, denominator), expected, rtol=1e-12)


@pytest.mark.parametrize("first_is_one", [False, True])
def test_the_released_broadcast(first_is_one: bool) -> None:
    """Against torch, whose broadcasting and `view(-1)` are what the released code does."""
    dots, norms = annotation()
    expected = torch.zeros(21, dtype=torch.float64)
    kept = torch.ones(21, dtype=torch.float64) if first_is_one else torch.from_numpy(norms[13 - 1])
    for t in (12, 8, 4):  # backwards
        ratios = []
        for start in range(0, 21, 8):
            dot = torch.from_numpy(dots[t - 1, start : start + 8])
            ratios.append(torch.func.vmap(lambda d, all_norms: d / all_norms, (0, None))(dot, kept[start : start + 8]))
        expected += torch.cat([ratio.reshape(-1) for ratio in ratios])[:21]
        kept = torch.from_numpy(norms[t - 1])
    got = analysis.released(dots, norms, 4, 8, first_is_one=first_is_one, broadcast=True)
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-12)


def test_without_its_faults_the_released_way_is_ours() -> None:
    dots, norms = annotation()
    got = analysis.released(dots, norms, 4, 8, first_is_one=False, broadcast=False)
    np.testing.assert_array_equal(got, analysis.score(dots, norms, 4, "next_visited"))
    other = analysis.released(dots, norms, 4, 8, first_is_one=True, broadcast=False)
    np.testing.assert_allclose(other - got, dots[11] - dots[11] / norms[12], rtol=1e-9, atol=1e-12)


def test_percentiles() -> None:
    np.testing.assert_allclose(analysis.percentiles([3.0, -1.0, 10.0]), [0.5, 0, 1])
    assert analysis.percentiles(random.sample(range(99), 50)).mean() == pytest.approx(0.5)


def test_the_interval_of_a_kind_is_over_documents() -> None:
    """Sequences that repeat their document's value tell no more than one of them."""
    draw = np.random.default_rng(0)
    of_document = draw.normal(size=30)
    once = analysis.mean_by_kind(of_document, np.array(["a"] * 30), np.arange(30).astype(str))["a"]
    many = analysis.mean_by_kind(
        np.repeat(of_document, 20), np.array(["a"] * 600), np.repeat(np.arange(30), 20).astype(str)
    )["a"]
    assert many["mean"] == pytest.approx(once["mean"])
    assert many["interval"] == pytest.approx(once["interval"])
    low, high = once["interval"]  # type: ignore[misc]
    assert high - low == pytest.approx(2 * 1.96 * of_document.std() / np.sqrt(30), rel=0.2)


def test_a_score_that_knows_the_kind_alone_has_nothing_within_kinds() -> None:
    draw = np.random.default_rng(0)
    kinds = np.repeat(["a", "b"], 400)
    wanted = draw.normal(size=800) + 3 * (kinds == "a")
    alone = analysis.by_kind_alone(wanted, kinds, kinds)
    assert analysis.correlation(alone, wanted, 50)["spearman"] > 0.7  # type: ignore[operator]
    assert analysis.within_kinds(alone, wanted, kinds, 20)["mean"] == 0
    assert analysis.within_kinds(wanted, wanted, kinds, 20)["mean"] == pytest.approx(1)


def test_change_against_the_reference() -> None:
    draw = np.random.default_rng(0)
    tokens = draw.integers(50, 200, size=40).astype(float)
    base = [tokens * 5 + draw.normal(size=40) for _ in range(3)]
    better = [nats - tokens * gain for nats, gain in zip(base, (0.09, 0.1, 0.11), strict=True)]
    found = analysis.changes({"uniform": base, "better": better}, tokens, "uniform")
    assert found["uniform"]["change"] == 0
    assert found["better"]["change"] == pytest.approx(100 * np.expm1(-0.1))
    assert found["better"]["by_seed"] == pytest.approx([100 * np.expm1(-gain) for gain in (0.09, 0.1, 0.11)])
    half = 4.303 * 0.01 / np.sqrt(3)
    expected = [100 * np.expm1(-0.1 - half), 100 * np.expm1(-0.1 + half)]
    assert found["better"]["over_seeds"] == pytest.approx(expected)
    # each document gains as much a token as the others: which are held out does not matter
    assert found["better"]["over_documents"] == pytest.approx([found["better"]["change"]] * 2)


def test_overlap() -> None:
    scores = np.random.default_rng(0).normal(size=100)
    assert analysis.overlap(scores, 2 * scores + 1, 0.3) == 1
    assert analysis.overlap(scores, -scores, 0.5) == 0


def test_tables_go_between_their_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("Before.\n<!-- table:a -->\nold\n<!-- end -->\nAfter.\n")
    findings.put_tables(readme, {"a": "| new |"})
    assert readme.read_text() == "Before.\n<!-- table:a -->\n| new |\n<!-- end -->\nAfter.\n"
    with pytest.raises(ValueError, match="no place for the table 'b'"):
        findings.put_tables(readme, {"b": ""})
