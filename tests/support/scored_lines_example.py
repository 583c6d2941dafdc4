"""Files of scored JSON lines, and their order."""

import random
from pathlib import Path
from typing import Any

from qurating.stages.selection.order_lines import order_lines


def ordered(output: Path, paths: Any, **changes: Any) -> dict[str, Any]:
    output.mkdir()
    settings: dict[str, Any] = {
        "files": "",
        "score_field": "score",
        "fraction": 1.0,
        "inverse": False,
        "method": "folding",
        "num_folds": 3,
        "descending": False,
        "seed": 0,
    }
    return order_lines(output=output, paths=paths, **(settings | changes))


def odd_files(folder: Path) -> list[Path]:
    """Two files of lines that no writer of JSON would write so: order of keys, spaces, line ends, escapes."""
    lines = []
    for number in range(101):
        score = random.choice([-1.5, 0, 2, random.gauss(0, 1)])
        text = random.choice(["", "a\\nb", "\\u00e9é", "x" * 5000]) + str(number)
        fields = [f'"text" : "{text}"', f'"score":{score!r}', '"n":{"score": 5}']
        random.shuffle(fields)
        lines.append(("{" + random.choice([",", ", "]).join(fields) + "}" + random.choice(["", " ", "\r"])).encode())
    first, second = folder / "a.jsonl", folder / "b.jsonl"
    first.write_bytes(b"\n".join(lines[:40]) + b"\n\n  \n")
    second.write_bytes(b"\n".join(lines[40:]))  # the last line is not ended
    return [first, second]
