"""Compare every file of artifacts with the SHA-256 in its manifest.

python -m qurating.verify                    all artifacts under artifacts/
python -m qurating.verify FOLDER [FOLDER …]  all artifacts in these folders: a single one, or a whole paths.artifacts

Prints what is damaged, and what else does not fit: files that no manifest lists, inputs that were replaced since,
working folders of builds that have not ended. Exit status: 0 if no artifact is damaged, 1 if one is, 2 if there is no
artifact.
Every file is read, also those that a run has compared before. Runs know the outcome afterwards.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from qurating.artifacts.integrity import damaged_files
from qurating.artifacts.manifest import read_manifest, referenced_name
from qurating.runtime.errors import StageError


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m qurating.verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("artifacts")], metavar="FOLDER")
    folders = parser.parse_args(arguments).folders
    found = sorted({path.parent for folder in folders for path in _manifests(folder)})
    for folder in folders:
        if not folder.is_dir():
            print(f"Error: {folder} is not a folder", file=sys.stderr)
            return 2
    if not found:
        print(f"Error: no artifact in {', '.join(map(str, folders))} (no manifest.json)", file=sys.stderr)
        return 2
    return report(found, folders)


def report(found: Sequence[Path], folders: Sequence[Path]) -> int:
    """Verify the artifacts in `found`, print the outcome of each, and return the exit status."""
    manifests: dict[Path, dict[str, Any]] = {}
    damaged = dict[Path, list[str]]()
    for path in found:
        try:
            manifests[path] = read_manifest(path / "manifest.json")
        except StageError as error:
            damaged[path] = [str(error)]
    sizes = {path: sum(file["bytes"] for file in made["files"].values()) for path, made in manifests.items()}
    with tqdm(total=sum(sizes.values()), desc="verified", unit="B", unit_scale=True, mininterval=0.5) as progress:
        for path, made in manifests.items():
            if names := damaged_files(path, made, forget=True, read=progress.update):
                damaged[path] = [f"{name}: {_what(path / name)}" for name in names]
    for path in found:
        state = "DAMAGED" if path in damaged else "intact"
        size = f" ({len(manifests[path]['files'])} files, {sizes[path] / 1e6:,.1f} MB)" if path in manifests else ""
        print(f"{path}: {state}{size}")
        for line in [*damaged.get(path, []), *(_notes(path, manifests[path]) if path in manifests else [])]:
            print(f"    {line}")
    for folder in folders:
        for partial in sorted(folder.glob("**/.*.partial")):
            name = partial.name[1:].removesuffix(".partial")
            print(f"{partial.with_name(name)}: not finished; the command that builds it continues")
    print(f"{len(found)} artifacts, {len(damaged)} damaged, {sum(sizes.values()) / 1e6:,.1f} MB read")
    return int(bool(damaged))


def _manifests(folder: Path) -> Iterator[Path]:
    """The manifests of all artifacts in a folder; working folders and replaced artifacts are hidden."""
    for file in folder.glob("**/manifest.json"):
        if not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


def _what(file: Path) -> str:
    return "the content is not the one that was written" if file.is_file() else "missing"


def _notes(path: Path, made: dict[str, Any]) -> Iterator[str]:
    """What does not fit, and is no damage of this artifact."""
    files = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    if others := sorted(files - made["files"].keys() - {"manifest.json"}):
        shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        yield f"note: its manifest does not list {shown}"
    for given in made["inputs"].values():
        source = path.resolve().parents[1] / referenced_name(given) / "manifest.json"
        if not source.is_file():
            yield f"note: its input {given} is not here"
            continue
        try:
            now = read_manifest(source)["fingerprint"][:16]
        except StageError:
            continue  # listed by itself
        if f"({now})" not in given:
            yield f"note: it was made from {given}, which was replaced since (now {now})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
