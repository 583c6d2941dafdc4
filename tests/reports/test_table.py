"""The table of a comparison in a terminal."""

import subprocess
import sys

from qurating.reports.table import MAX_COLUMNS, format_table


def row(method: str, domains: list[str]) -> dict:
    measures = {
        "perplexity": 123.456,
        "num_heldout_tokens": 5,
        "change_percent": 1.2,
        "change_low": -3.0,
        "change_high": 44.0,
    }
    rest = {"is_reference": False, "tokens": 30_000_000_000, "labels": ["simulated judge"]}
    return {"method": method, **measures, **rest, "domains": dict.fromkeys(domains, measures)}


def test_the_terminal_table_is_aligned_and_not_too_wide() -> None:
    domains = [
        "language_reference",
        "stdlib_docstrings",
        "package_docstrings",
        "package_readmes",
        "licences",
        "source_code",
    ]
    text = format_table(
        [row("facts_and_trivia sample τ=2, learning_rate=0.0005", [*domains, "tabular_data"]), row("a", domains)]
    )
    lines = text.splitlines()
    assert max(map(len, lines)) <= MAX_COLUMNS
    assert "123.5" in lines[3]
    assert "+1.20 [−3.00, +44.0]" in lines[3]
    assert lines[3].index("30.0B") == lines[4].index("30.0B")
    assert lines[-1] == "Note: simulated judge."
    assert "domains are in table.csv" in format_table([row("a", [f"domain_{i}" for i in range(40)])])
    assert format_table([]) == "(no cell to compare)"


def test_unequal_budgets_are_told() -> None:
    budgets = {"uniform": 400_000, "top-k": 401_500, "threshold": 90_000}
    rows = [row(name, []) | {"tokens": tokens} for name, tokens in budgets.items()]
    assert "Unequal budgets" not in format_table(rows[:2])
    caution = "Unequal budgets: from 90.0K to 402K tokens. A difference in perplexity may come from the amount of text"
    assert caution in format_table(rows)
    # without a language model there is no perplexity to misread
    assert "Unequal budgets" not in format_table([*rows[:2], rows[2] | {"perplexity": None}])
    assert "Unequal budgets" not in format_table([*rows[:2], rows[2] | {"tokens": None}])


def test_the_table_is_light_to_import() -> None:
    code = (
        "import sys; from qurating.reports.table import format_table; "
        "assert not {'torch', 'matplotlib', 'transformers', 'numpy', 'pyarrow', 'jinja2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
