"""The junk of a crawl: text that is generated, or made from other text."""

import base64
import itertools
import random
import re
import zlib
from collections.abc import Sequence

SYLLABLES = (  # of the made languages
    "ka ri mo tu shi no ba yo ke na sa wu ji ro ten kan",
    "ście prze niał wych szcz owa ień łą prz mie dło ży bie czny się ród",
    "ção lha nhe que ram ões ante mui pre sto vér fla dois são grô tei",
)
LABELS = (
    "Home", "Products", "Pricing", "About", "Contact", "Careers", "Blog", "News", "Support", "Downloads", "Community",
    "Forum", "Login", "Register", "Search", "Help", "Sitemap", "Privacy", "Terms", "Cookies", "Imprint", "Partners",
    "Events", "Press", "Shop", "Cart", "Account", "Settings", "Language", "English", "Deutsch", "Archive",
    "Categories", "Tags", "Newer", "Older", "Next", "Previous", "Top", "Share", "Tweet", "Print", "Subscribe", "RSS",
    "Mirror", "Index", "Gallery", "Jobs",
)  # fmt: skip
CHANGES = ("Fixed", "Added", "Removed", "Deprecated", "Bumped", "Reverted", "Renamed", "Refactored", "Backported")
LEVELS = ("INFO", "INFO", "INFO", "DEBUG", "DEBUG", "WARN", "ERROR")
EVENTS = (
    "connection from {ip} closed after {number} ms",
    "GET /{name}/{number} 200 {number}b {ip}",
    "POST /api/v2/{name} 503 retry={number}",
    "worker {number} took job {hex}",
    "cache miss key={hex} size={number}",
    "{name} raised TimeoutError id={hex}",
)


def changelog(draw: random.Random, names: Sequence[str]) -> str:
    """Releases with their dates and changes."""
    lines = []
    major, minor = draw.randint(0, 9), draw.randint(5, 30)
    for _ in range(draw.randint(3, 8)):
        minor -= 1
        lines.append(f"\n## [{major}.{minor}.{draw.randint(0, 9)}] - {_date(draw)}\n")
        for _ in range(draw.randint(3, 9)):
            end = draw.choice(("", " on Windows", " again", f" (@user{draw.randint(1, 99)})", " to avoid a crash"))
            number = draw.randint(100, 29_999)
            lines.append(f"- {draw.choice(CHANGES)} `{draw.choice(names)}.{draw.choice(names)}`{end} (#{number})")
    return "\n".join(lines).strip()


def menu(draw: random.Random, names: Sequence[str]) -> str:
    """Navigation bars, lists of links, page numbers and a footer."""
    lines = []
    for _ in range(draw.randint(6, 25)):
        labels = draw.sample(LABELS, draw.randint(3, 9))
        bar = draw.choice((" | ", " > ", " · ", "\n* ", "  "))
        lines.append(bar.join([*labels, *draw.sample(names, 2)]))
        lines.append(f"Page {draw.randint(1, 9)} of {draw.randint(10, 99)} « 1 2 3 … {draw.randint(10, 99)} »")
    return "\n".join(
        [*lines, f"© {draw.randint(1998, 2025)} All rights reserved. Accept all cookies Manage preferences"]
    )


def table(draw: random.Random) -> str:
    """Rows of numbers and codes, separated by one sign."""
    columns, sign = draw.randint(3, 9), draw.choice((",", "\t", ";", " | "))
    codes = [draw.random() < 0.3 for _ in range(columns)]
    rows = [sign.join(f"col{i}" for i in range(columns))]
    for _ in range(draw.randint(20, 120)):
        rows.append(
            sign.join(
                "".join(draw.choices("ABCDEFGHKLMNPRST", k=3)) if code else f"{draw.gauss(0, 50):.2f}" for code in codes
            )
        )
    return "\n".join(rows)


def log(draw: random.Random, names: Sequence[str]) -> str:
    """Lines of a server's log file."""
    lines, day, second = [], _date(draw), draw.randint(0, 80_000)
    for _ in range(draw.randint(20, 70)):
        second += draw.randint(0, 40)
        event = draw.choice(EVENTS).format(
            ip=".".join(str(draw.randint(1, 254)) for _ in range(4)),
            number=draw.randint(1, 9999),
            name=draw.choice(names),
            hex=f"{draw.getrandbits(32):08x}",
        )
        clock = f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}.{draw.randint(0, 999):03}"
        lines.append(f"{day} {clock} {draw.choice(LEVELS)} [{draw.choice(names)}] {event}")
    return "\n".join(lines)


def licence(draw: random.Random, paragraphs: Sequence[str]) -> str:
    """Paragraphs of licences under a line of copyright; the same ones occur in many documents."""
    chosen = draw.sample(paragraphs, min(len(paragraphs), draw.randint(2, 6)))
    return "\n\n".join([f"Copyright (c) {draw.randint(1990, 2025)} Author {draw.randint(1, 999)}", *chosen])


def encoded(draw: random.Random) -> str:
    """Random bytes in base64."""
    return base64.encodebytes(draw.randbytes(draw.randint(400, 3000))).decode()


def minified(code: str) -> str:
    """Source code without white space at the beginning of lines, its longer names replaced by short ones."""
    short: dict[str, str] = {}

    def shorter(found: re.Match[str]) -> str:
        number = len(short)
        return short.setdefault(found[0], chr(97 + number % 26) + (str(number // 26) if number > 25 else ""))

    lines = (re.sub(r"\s*([=+\-*/,:<>(){}\[\]])\s*", r"\1", line.strip()) for line in code.splitlines())
    joined = ";".join(line for line in lines if line and not line.startswith("#"))
    return re.sub(r"\b[A-Za-z_]\w{5,}\b", shorter, joined)


def in_another_language(text: str, language: str) -> str:
    """A text with every word replaced by an invented one, always the same one: the order is English, no word is.

    Args:
        language: its syllables, see SYLLABLES.
    """
    syllables = language.split()

    def invented(found: re.Match[str]) -> str:
        word = found[0].lower()
        number = zlib.crc32(word.encode())
        made = "".join(syllables[number >> 4 * i & 15] for i in range(1 + min(len(word), 12) // 4))
        return made.capitalize() if found[0][0].isupper() else made

    return re.sub(r"[A-Za-z]+", invented, text)


def languages(texts: Sequence[str]) -> list[str]:
    """Texts in the made languages, in turn."""
    return [in_another_language(text, each) for text, each in zip(texts, itertools.cycle(SYLLABLES), strict=False)]


def _date(draw: random.Random) -> str:
    return f"20{draw.randint(10, 25)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}"
