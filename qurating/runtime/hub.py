"""Access to models and data sets of the Hugging Face Hub, checked before any work starts.

The token is the one of the hub client: the environment variable HF_TOKEN, or the login of `hf auth login`. It is never
printed. HF_ENDPOINT, HF_HUB_OFFLINE and the cache are respected as the client does.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from qurating.runtime.errors import StageError
from qurating.runtime.revisions import is_local, pinned, without_pin

TIMEOUT_SECONDS = 10.0  # the client itself would wait forever
_MODEL_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
NOUNS = {"model": "model", "dataset": "data set"}


def check_access(models: Sequence[str | None], datasets: Sequence[str | None]) -> None:
    """Check that a run can access everything that it fetches; downloads nothing.

    Local folders and files, and what the client has in its cache, are not checked. Names of data sets without an owner,
    such as `json`, are formats of the `datasets` library and are skipped; so is None.

    Raises:
        StageError: lists everything that is not accessible, with the reason, the page to visit and the variable to set.
    """
    problems, advice = list[str](), list[str]()
    unreachable: Exception | None = None
    for kind, references in (("model", models), ("dataset", datasets)):
        for reference in dict.fromkeys(filter(None, references)):
            if is_local(reference) or (kind == "dataset" and "/" not in reference):
                continue
            if reference.startswith(("/", ".", "~")):
                problems.append(f"{reference}: no such {NOUNS[kind]} (looked in {os.getcwd()})")
                continue
            # a Hub that did not answer is not asked again
            name, _ = without_pin(reference)
            error = _hub_error(name, kind, unreachable)
            explained = error and _explanation(name, kind, error)
            if explained:
                problems.append(f"{reference} ({NOUNS[kind]}): {explained}")
                advice = [_advice()]
            if error and _is_unreachable(error):
                unreachable = error
    if problems:
        raise StageError("\n  ".join(["the run needs these, and cannot access them:", *problems, *advice]))


def fetch(dataset: str, file: str, revision: str | None = None) -> str:
    """Fetch one file of a data set from the cache or the Hub; returns its path. No code of the data set is run.

    Raises:
        StageError: the file cannot be fetched; with the reason, the page to visit and the variable to set.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError, RevisionNotFoundError

    try:
        return hf_hub_download(dataset, file, repo_type="dataset", revision=pinned(dataset, "dataset", revision))
    except (RemoteEntryNotFoundError, RevisionNotFoundError) as error:
        at = "" if revision is None else f" at revision {revision!r}"
        raise StageError(f"{dataset} has no file {file!r}{at}: see {_page(dataset, 'dataset')}/tree/main") from error
    except Exception as error:  # the Hub and the network raise many types
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the disk
        # the client's error for a file that is not in its cache hides why it could not reach the Hub
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
        reason = _explanation(dataset, "dataset", cause) or f"{type(cause).__name__}: {cause}"
        raise StageError(f"{dataset} (data set): {reason}\n  {_advice()}") from error


def model_folder(name_or_path: str | Path) -> Path:
    """The folder of a local model, or of a model that is fetched from the Hub; no code is fetched.

    Raises:
        StageError: the model cannot be fetched.
    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    name, revision = without_pin(str(name_or_path))
    check_access([name], [])
    revision = pinned(name, "model", revision)
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=_MODEL_FILES))
        if not any(folder.glob("*.safetensors")):  # transformers reads only weights from the others
            snapshot_download(name, revision=revision, allow_patterns=["*.bin"])
    except Exception as error:  # the Hub, the network and the disk raise many types
        raise StageError(f"{name} cannot be fetched from the Hub: {type(error).__name__}: {error}") from error
    return folder


def trained_or_pretrained(
    trained: Path | None, from_pretrained: str | None, *, kind: str, stage: str, setting: str, otherwise: str = ""
) -> Path:
    """The folder of the one model that a stage uses: a model trained here, or one that a setting names.

    Args:
        trained: folder of a model that was trained here.
        from_pretrained: a folder or a name on the Hub, instead.
        kind: the name of such a model in errors.
        stage: the stage that trains such a model.
        setting: the setting of `from_pretrained`.
        otherwise: another option; it ends the advice.

    Raises:
        StageError: neither or both are given; or the model cannot be fetched.
    """
    if trained is not None and from_pretrained is not None:
        raise StageError(f"two {kind}s are given, {trained} and {setting}={from_pretrained}: remove one")
    if trained is not None:
        return trained
    if from_pretrained is None:
        raise StageError(
            f"no {kind} is given: add the stage {stage}, or name a trained {kind} with "
            f"{setting}=<folder or name on the Hub>{otherwise}"
        )
    return model_folder(from_pretrained)


def _hub_error(reference: str, kind: str, unreachable: Exception | None) -> Exception | None:
    """Why the Hub does not give access, or None; `unreachable` is an earlier error that makes asking pointless."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status, validate_repo_id

    try:
        validate_repo_id(reference)
        cached = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=reference, repo_type=kind), "snapshots")
        if any(cached.glob("*/*")):
            return None
        if unreachable is not None:
            return unreachable
        # `huggingface_hub.auth_check`, with a timeout
        url = f"{constants.ENDPOINT}/api/{kind}s/{reference}/auth-check"
        hf_raise_for_status(get_session().get(url, headers=build_hf_headers(), timeout=TIMEOUT_SECONDS))
    except Exception as error:  # the Hub and the network raise many types
        return error
    return None


def _is_unreachable(error: Exception) -> bool:
    """Whether the error means that the Hub did not answer."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    return not isinstance(error, HfHubHTTPError | HFValidationError | OfflineModeIsEnabled)


def _explanation(reference: str, kind: str, error: BaseException) -> str | None:
    """What an error of the Hub means; None if it says nothing about access."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    page = _page(reference, kind)
    if isinstance(error, HFValidationError):
        return f"neither a folder in {os.getcwd()} nor a name on the Hub, which has the form owner/name"
    if isinstance(error, GatedRepoError):
        return f"it is gated and you have no access: ask for access at {page}"
    if isinstance(error, RepositoryNotFoundError):
        return f"it does not exist or is private: see {page}, and check the name (no local folder has it either)"
    if isinstance(error, OfflineModeIsEnabled):
        wanted = f"hf download {reference}" + (" --repo-type dataset" if kind == "dataset" else "")
        return (
            f"it is not in the cache ({constants.HF_HUB_CACHE}), and the client is offline: unset HF_HUB_OFFLINE and "
            f"TRANSFORMERS_OFFLINE, or fetch it first (`{wanted}`); its page is {page}"
        )
    if isinstance(error, HfHubHTTPError):
        status, said = error.response.status_code, f" ({error.server_message})" if error.server_message else ""
        if status == 401:
            return f"the Hub asks for a valid token{said}: see {page}"
        if status == 403:
            return f"the token may not read it{said}: see {page}"
        if status == 404:
            return None  # a mirror without this check; the stage will find out
        return f"the Hub answers with status {status}{said}: try again later, or see {page}"
    return (
        f"the Hub cannot be reached ({constants.ENDPOINT}; {type(error).__name__}: {str(error).strip()}), and it is "
        f"not in the cache ({constants.HF_HUB_CACHE}); its page is {page}"
    )


def _page(reference: str, kind: str) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{reference}"


def _advice() -> str:
    """How to get access, and which credentials are used now."""
    from huggingface_hub import constants, get_token

    if os.environ.get("HF_TOKEN"):
        state = "is set"
    else:
        state = f"is not set; {'a login of `hf auth login` is used' if get_token() else 'there is no login either'}"
    return (
        f"Access needs a token: create one at {constants.ENDPOINT}/settings/tokens and put it into the environment "
        f"variable HF_TOKEN (which {state}), or run `hf auth login`. Or name a local folder instead."
    )
