"""The papers' figures are found by method and size, and by nothing near it."""

import pytest

from qurating.evaluation.papers import figures


def shape(hidden_size: int, layers: int) -> dict[str, int]:
    return {"network.hidden_size": hidden_size, "network.num_hidden_layers": layers}


@pytest.mark.parametrize(
    ("label", "tokens", "perplexity", "average"),
    [
        ("uniform", 30e9, 8.96, 44.9),
        ("uniform", 45e9, 8.46, 46.8),
        ("writing_style top-k", 30.2e9, 10.53, 43.4),
        ("required_expertise sample τ=2.0", 30e9, 8.93, 46.0),
        ("facts_and_trivia sample τ=2", 30e9, 8.91, 46.2),
        ("lowest perplexity", 30e9, 11.92, 41.7),
        ("DSIR RedPajamaWikipedia", 30e9, 10.67, 42.9),  # as SlimPajama calls it
    ],
)
def test_table_1_of_qurating(label: str, tokens: float, perplexity: float, average: float) -> None:
    found = figures(label, shape(2048, 24), tokens)
    assert (found["paper_perplexity"], found["paper_average"]) == (perplexity, average)
    assert found["paper"] == "arXiv 2402.09739, table 1, second-hand"


def test_delt_and_pds_at_160m() -> None:
    folded = [figures(f"{scores} top-k, folding by {scores}", shape(768, 12), 1e9) for scores in ("lqs", "pds")]
    assert [found["paper_average"] for found in folded] == [38.08, 37.40]
    assert folded[0]["paper"] == "arXiv 2506.21545, table 1, read in the paper"
    assert "paper_perplexity" not in folded[0]
    # DELT takes the best fraction of the scores
    ordered = [figures(f"{scores} highest 0.2, sorting by {scores}", shape(768, 12), 1e9) for scores in ("lqs", "pds")]
    assert [found["paper_average"] for found in ordered] == [37.49, 36.45]


@pytest.mark.parametrize(
    ("label", "hidden_size", "tokens"),
    [
        ("uniform", 2048, 31e9),  # another budget
        ("uniform", 768, 30e9),  # another model
        ("educational_value sample τ=1.0", 2048, 30e9),  # not in the notes
        ("educational_value inverse top-k", 2048, 30e9),
        ("DSIR", 2048, 30e9),  # towards what, the label does not say
        ("uniform, curriculum by required_expertise", 2048, 30e9),
        ("uniform", 2048, float("nan")),
    ],
)
def test_nothing_near_it(label: str, hidden_size: int, tokens: float) -> None:
    assert figures(label, shape(hidden_size, 24), tokens) == {}
