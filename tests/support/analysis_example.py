"""The analysis of a small sweep, and its page as a browser would see it."""

import html.parser
from pathlib import Path

from qurating.stages.comparison.analyse import analyse

METHODS = ("uniform", "writing_style top-k", "educational_value sample τ=2")
SETTINGS = {"title": "A sweep", "max_rated_rows": 100_000, "num_resamples": 300, "excerpt_characters": 200, "seed": 1}


def run(cells: list[dict[str, Path]], output: Path, **changed: object) -> dict:
    output.mkdir()
    return analyse(output=output, cells=cells, **(SETTINGS | changed))  # type: ignore[arg-type]


class Page(html.parser.HTMLParser):
    """What a browser would see: tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


DELT = ("uniform", "uniform, folding by lqs", "lqs top-k", "lqs top-k, folding by lqs")
