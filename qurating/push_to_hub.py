"""Send a model (language model, rater or scorer) to the Hugging Face Hub. Nothing else in this package does.

python -m qurating.push_to_hub artifacts/models/lm-… owner/name              a new, private repository
python -m qurating.push_to_hub artifacts/models/lm-… owner/name --public
python -m qurating.push_to_hub artifacts/models/lm-… owner/name --update     one more commit in an existing one

Sends the files that the manifest lists, after comparing them with its SHA-256, and manifest.json. With HF_TOKEN, or
after `hf auth login`. Exit status: 0 if it was sent, 2 if not.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

from qurating.artifacts.identity import leaves
from qurating.artifacts.integrity import damaged_files
from qurating.artifacts.manifest import manifest
from qurating.runtime.errors import StageError


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m qurating.push_to_hub", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="the folder of a model artifact")
    parser.add_argument("repository", metavar="OWNER/NAME")
    parser.add_argument("--public", action="store_true", help="everybody may read it (private otherwise)")
    parser.add_argument("--update", action="store_true", help="the repository may exist")
    parser.add_argument("--without-manifest", action="store_true", help="leave manifest.json out")
    given = parser.parse_args(arguments)
    try:
        made = manifest(given.model)
        check(given.model, made)
        files = [*made["files"], *([] if given.without_manifest else ["manifest.json"])]
        size = sum(file["bytes"] for file in made["files"].values())
        print(f"{given.model}: {len(files)} files, {size / 1e6:,.1f} MB", flush=True)
        for line in warnings(made, sends_manifest=not given.without_manifest):
            print(f"warning: {line}", flush=True)
        print(f"Sent: {push(given.model, given.repository, files, public=given.public, update=given.update)}")
    except StageError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


def check(folder: Path, made: Mapping[str, Any]) -> None:
    """Raise StageError for an artifact that is no model, or is damaged."""
    if "config.json" not in made["files"]:
        raise StageError(f"{folder} is no model: {made['stage']} made it, and there is no config.json")
    if damaged := damaged_files(folder, made, forget=True):
        raise StageError(f"{folder} is damaged: {', '.join(damaged)}; nothing was sent")


def warnings(made: Mapping[str, Any], sends_manifest: bool) -> Iterator[str]:
    """What somebody may want to know before others read a model."""
    yield from (f"everybody will read the label {label!r} on its card" for label in made.get("labels") or [])
    paths = sorted({str(value) for value in leaves(made["config"]).values() if re.match(r"(~|/)\w", str(value))})
    if paths and sends_manifest:
        yield f"manifest.json names paths of this machine ({', '.join(paths[:3])}): --without-manifest leaves it out"


def push(folder: Path, repository: str, files: Sequence[str], *, public: bool, update: bool) -> str:
    """Create the repository and send the files in one commit; returns the address of the commit.

    Raises:
        StageError: no key, no right, the repository exists and `update` is False, a name that is none, no network.
    """
    hub = HfApi(library_name="qurating")
    try:
        hub.create_repo(repository, private=not public, exist_ok=update)
        sent = hub.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=[*files], commit_message="A model made with qurating"
        )
        return str(sent.commit_url)
    except LocalTokenNotFoundError:
        raise StageError("no key of the Hub: set HF_TOKEN to one that may write, or run `hf auth login`") from None
    except HFValidationError as error:
        raise StageError(f"{repository!r} is no name of a repository (owner/name): {error}") from None
    except HfHubHTTPError as error:
        raise StageError(_refused(repository, error)) from None
    except Exception as error:  # the network raises many types
        raise StageError(f"the Hub cannot be reached ({type(error).__name__}: {error}): try again later") from None


def _refused(repository: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if status == 409:
        return f"{repository} exists already: choose another name, or add a commit to it with --update"
    if status in (401, 403):
        return f"the Hub refuses ({status}): HF_TOKEN needs the right to write to {repository.partition('/')[0]}"
    return f"the Hub refuses {repository} ({status}): {error.server_message or 'no reason given'}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
