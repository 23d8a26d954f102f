"""Access to the Hugging Face hub, with errors of one line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from orbitune.errors import OrbituneError


def snapshot(repo_id: str, repo_type: Literal["model", "dataset"], *, patterns: Sequence[str]) -> Path:
    """Download the files of a repository that match `patterns`, if not yet cached.

    Args:
        repo_id: owner/name.
        repo_type: model or dataset.
        patterns: such as `*.json`.

    Raises:
        OrbituneError: the id does not exist, may not be read, or the hub cannot be reached.
    """
    from huggingface_hub import constants, errors, snapshot_download

    elsewhere = "download it where there is a network and pass the folder"
    try:
        return Path(snapshot_download(repo_id, repo_type=repo_type, allow_patterns=list(patterns)))
    except errors.GatedRepoError:
        reason = "its owner restricts access; accept the terms on the hub and run `hf auth login`"
    except errors.RepositoryNotFoundError:
        reason = (
            f"the hub has no such {repo_type} (or it is private); check the spelling, or pass a local path"
        )
    except errors.HFValidationError:
        reason = "this is neither an existing path nor a hub id (owner/name)"
    except errors.LocalEntryNotFoundError:
        reason = (
            f"HF_HUB_OFFLINE is set and the hub's cache does not hold it; unset it, or {elsewhere}"
            if constants.HF_HUB_OFFLINE
            else f"the hub cannot be reached and its cache does not hold it; {elsewhere}"
        )
    except Exception as error:  # the hub's HTTP client lets many types through
        reason = f"the hub cannot be read ({type(error).__name__}); {elsewhere}"
    raise OrbituneError(f"Cannot get {repo_type} {repo_id!r}: {reason}.")
