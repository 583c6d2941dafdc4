"""Pages from templates: every value is escaped, and a missing value is an error."""

import base64
from typing import Any

import jinja2
import pytest
from analysis_example import Page
from judge_summary import SUMMARY

from qurating.reports.page import render

HOSTILE = '"><script>alert(1)</script>\x1b\u202e'


def content(**changes: Any) -> dict[str, Any]:
    calls = {"num_calls": 12345, "prompt_tokens": 0, "completion_tokens": 0, "usd": 1.5}
    summary: dict[str, Any] = SUMMARY | {
        "judge": HOSTILE,
        "model": HOSTILE,
        "mode": "pairwise",
        "cost": SUMMARY["cost"]
        | {"estimate": calls, "actual": calls, "price": {"prompt": 1, "completion": 2, "source": HOSTILE}},
        "failed": {HOSTILE: {"num_requests": 3, "example": HOSTILE}},
        "endpoint": {"kind": "remote", "address": HOSTILE, "api": "azure"},
        "findings": [HOSTILE],
        "models": [{"model": HOSTILE, "num_answers": 1, "first": "2026-01-30", "last": "2026-01-30"}],
        "by_domain": [SUMMARY["by_domain"][0] | {"domain": HOSTILE}],
    }
    text = {"number": 0, "id": 7, "domain": HOSTILE, "excerpt": HOSTILE}
    example = {"criterion": HOSTILE, "texts": [text, text], "shown_second": 0.9, "shown_first": 0.2}
    return {
        "summary": summary | changes,
        "figures": {"orders": "<svg>one</svg>", "lengths": b"\x89PNG two"},
        "examples": {"flip": [example], "agree": [example]},
    }


def test_what_a_corpus_or_an_endpoint_says_is_text_and_no_more() -> None:
    text = render(content(), "judge.html.jinja")
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count('"><script>alert(1)</script>\ufffd\ufffd') == 11 + 2 * 5  # two examples of five each
    assert "12,345" in page.text


def test_images_are_data_urls() -> None:
    page = Page(render(content(), "judge.html.jinja"))
    sources = [str(attributes["src"]) for tag, attributes in page.tags if tag == "img"]
    assert [source.partition(",")[0] for source in sources] == ["data:image/svg+xml;base64", "data:image/png;base64"]
    assert [base64.b64decode(source.partition(",")[2]) for source in sources] == [b"<svg>one</svg>", b"\x89PNG two"]


def test_a_value_that_is_missing_is_an_error() -> None:
    given = content()
    del given["summary"]["model"]
    with pytest.raises(jinja2.UndefinedError, match="model"):
        render(given, "judge.html.jinja")
