"""Names of artifacts that need no quotes in a shell, and names derived from paths."""

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

_GLOB = re.compile(r"[*?\[\]]")
ALLOWED = "a name has letters, digits and . _ - + = , @ % : alone, and begins with neither - nor ."
_PLAIN = "._-+=,@%:"  # besides letters and digits of any script; none of them means anything to a shell inside a word


def is_safe(name: str, also: str = "") -> bool:
    """Whether a part of a name is safe: not empty, and without characters that a shell or a pattern interprets.

    Args:
        also: further characters that may occur.
    """
    return bool(name) and name[0] not in "-." and all(_is_plain(c) or c in also for c in name)


def safe(name: str, also: str = "", otherwise: str = "unnamed") -> str:
    """A name with `_` for each unsafe character, and without `-` or `.` at its beginning; `otherwise` if none is left.

    A safe name stays as it is.
    """
    return "".join(c if _is_plain(c) or c in also else "_" for c in name).lstrip("-.") or otherwise


def of_path(path: str) -> str:
    """The name of a model by its path, or by its name on the Hub: the last part."""
    last = path.rstrip("/").rsplit("/", 1)[-1]
    if last in ("", ".", "..", "~"):  # another name of a folder
        last = Path(os.path.abspath(os.path.expanduser(path))).name
    return safe(last)


def of_files(paths: str | Sequence[str] | None) -> str:
    """The name of the first file without its endings: /data/wiki.jsonl.zst -> wiki; characters of patterns go.

    If nothing is left of it, the name of the nearest folder that has one: /data/books/**/*.jsonl -> books.
    """
    first = paths if isinstance(paths, str) else next(iter(paths or []), "empty")
    path = Path(str(first))
    for place in (path, *path.parents):
        name = place.name.split(".")[0] if place is path else place.name
        if place.name in ("..", "~"):
            name = Path(os.path.abspath(os.path.expanduser(place))).name
        if left := _GLOB.sub("", name).strip("-_"):
            return safe(left, otherwise="corpus")
    return "corpus"


def _is_plain(character: str) -> bool:
    # the accents of letters that are two characters count as letters
    return character.isalnum() or character in _PLAIN or unicodedata.category(character).startswith("M")
