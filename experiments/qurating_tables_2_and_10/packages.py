"""How the installed Python packages describe themselves, with the topics and audiences that they name.

python experiments/qurating_tables_2_and_10/packages.py packages.jsonl

Writes one JSON object a line: `text` (the description in the package's metadata), `name`, and `topic`, `audience`,
`status` and `license` by its first classifier of each kind, or "none". The packages are those of the environment that
runs this, in the order of their names. It has the form of QuRating's AboutMe, a text and labels.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

KINDS = {"topic": "Topic", "audience": "Intended Audience", "status": "Development Status", "license": "License"}
MIN_CHARACTERS = 500  # shorter descriptions say little, and many are empty


def described(package: importlib.metadata.Distribution) -> dict[str, str] | None:
    """The description of a package and its labels; None if it has hardly any."""
    about = package.metadata
    text = str(about.get_payload() or about.get("Description") or "").strip()
    if len(text) < MIN_CHARACTERS:
        return None
    classifiers = [given.split(" :: ") for given in about.get_all("Classifier") or []]
    labels = {}
    for label, kind in KINDS.items():
        place = -1 if kind == "License" else 1  # the licence itself is the last part, the field of a topic the second
        named = [parts[place] for parts in classifiers if parts[0] == kind and len(parts) > 1]
        labels[label] = named[0] if named else "none"
    return {"text": text, "name": str(about["Name"]), **labels}


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(str(__doc__))
    packages = {str(each.metadata["Name"]).lower(): each for each in importlib.metadata.distributions()}
    rows = [row for _, each in sorted(packages.items()) if (row := described(each))]
    with open(Path(sys.argv[1]), "w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row) + "\n")
    print(f"{len(rows)} descriptions of {len(packages)} packages, {sum(len(row['text']) for row in rows):,} characters")


if __name__ == "__main__":
    main()
