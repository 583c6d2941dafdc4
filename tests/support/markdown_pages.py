"""The pages of the documentation as data: fenced blocks, shell commands, links, headings, code in backticks."""

import functools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RECIPES = ROOT / "docs" / "extending.md"
_FENCE = re.compile(r"^```(\w*)$")
_NOT_RUN = re.compile(r"<!-- not run: (.*) -->")
_FILE = re.compile(r"`(?P<path>[\w./-]+)`(?: gets, (?:at its end|after the line `(?P<line>[^`]+)`))?:")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    `line` is the fence's, counted from 1; `before` the last line above it that is not empty; `section` the text of the
    last heading above it.
    """

    page: Path
    line: int
    language: str
    text: str
    before: str
    section: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def reason_not_run(self) -> str | None:
        """Why nothing checks it; None of a block that is checked."""
        found = _NOT_RUN.fullmatch(self.before)
        return found[1] if found else None

    @property
    def file(self) -> re.Match[str] | None:
        """The file that it is, or is added to: `path`, and `line`, after which it goes. None of any other block."""
        return _FILE.fullmatch(self.before)


@dataclass(frozen=True)
class Command:
    """A command of a shell: words without the variables that are set before it."""

    place: str
    words: tuple[str, ...]


@functools.cache
def blocks(page: Path) -> tuple[Block, ...]:
    """The fenced blocks of a page, in order. Raises ValueError for a fence that is not closed."""
    found = []
    before = section = ""
    opened: tuple[int, str] | None = None
    inside: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opened and line == "```":
            found.append(Block(page, opened[0], opened[1], "\n".join(inside) + "\n", before, section))
            opened, inside, before = None, [], ""
        elif opened:
            inside.append(line)
        elif fence:
            opened = number, fence[1]
        elif line.startswith("```"):
            raise ValueError(f"{page}:{number}: a fence of another form: {line}")
        elif line.strip():
            before = line
            section = line.lstrip("# ") if line.startswith("#") else section
    if opened:
        raise ValueError(f"{page}:{opened[0]}: the fence is not closed")
    return tuple(found)


@functools.cache
def prose(page: Path) -> str:
    """A page without the content of its fenced blocks."""
    return re.sub(r"^```\w*\n.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def inline_code(page: Path) -> list[str]:
    """What is in single backticks, in the order of the page."""
    return [code.replace("\\|", "|").replace("\n", " ") for code in re.findall(r"`([^`]+)`", prose(page))]


def commands_of(text: str, place: str) -> list[Command]:
    """The commands of lines of a shell: continued lines joined, comments dropped, `&&` split."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&;|<>")
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, "&&"]:
            if word == "&&":
                if command:
                    found.append(Command(place, tuple(command)))
                command = []
            elif command or not _ASSIGNMENT.match(word):
                command.append(word)
    return found


def commands(page: Path) -> list[Command]:
    """Every command that a page shows and does not mark as not run, in blocks and in backticks."""
    found = []
    for block in blocks(page):
        if block.language == "sh" and block.reason_not_run is None:
            found += commands_of(block.text, block.place)
    for code in inline_code(page):
        if re.match(r"([A-Z_]+=\S* )?(python3?|make|torchrun|pip|\.) [^…]*$", code):
            found += commands_of(code, f"{page.relative_to(ROOT)} in backticks")
    return found


def anchors(page: Path) -> set[str]:
    """What links to headings of a page may end in, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """Targets of links and pictures that are not addresses of the Web."""
    targets = re.findall(r"\]\(\s*([^)\s]+)\s*\)", prose(page))
    return [target for target in targets if "://" not in target and not target.startswith("mailto:")]
