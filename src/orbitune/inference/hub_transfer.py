"""Upload and download of bundles.

No other module sends anything to a network.
"""

from pathlib import Path

from orbitune.errors import OrbituneError, counted
from orbitune.files import replacing
from orbitune.hub import snapshot
from orbitune.inference.bundle import Bundle
from orbitune.inference.example_tiles import EXAMPLES
from orbitune.inference.output_places import check_place
from orbitune.models.lineage.fine_tuned import CARRIED
from orbitune.models.metadata import HUB_FILES
from orbitune.suggestions import taken


def push_to_hub(bundle: Bundle | str | Path, repo_id: str, *, private: bool = False) -> str:
    """Upload a bundle into a model repository, which is made if there is none.

    Examples:
        >>> from orbitune import push_to_hub
        >>> address = push_to_hub("bundle", "owner/name")

    Args:
        bundle: a bundle or its folder; a run has no model card and is refused.
        repo_id: owner/name.
        private: whether a repository that is made is private.

    Returns:
        The address of the commit.

    Raises:
        OrbituneError: it is no bundle, or damaged; or the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    if not (bundle.folder / "README.md").is_file():
        raise OrbituneError(
            f"{bundle.folder} has no model card: make a bundle of it first (orbitune bundle)."
        )
    api = HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo_id,
            folder_path=bundle.folder,
            allow_patterns=list(HUB_FILES),
            commit_message=f"{bundle.metadata.method}, {counted(len(bundle.classes), 'class')}",
        )
    except LocalTokenNotFoundError:
        reason = "no token was found; run `hf auth login`"
    except HFValidationError:
        reason = "this is no hub id (owner/name)"
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        login = "; run `hf auth login` with a token that may write" if status in (401, 403) else ""
        reason = f"the hub answers {status}{login}"
    except OSError as error:
        reason = f"the hub cannot be reached ({type(error).__name__})"
    else:
        return str(done.commit_url)
    raise OrbituneError(f"Cannot push to {repo_id!r}: {reason}.")


def pull_from_hub(repo_id: str, out: str | Path) -> Bundle:
    """Download a bundle into a folder, and check that it is whole.

    Args:
        repo_id: owner/name on the hub.
        out: folder to create.

    Returns:
        The downloaded bundle.

    Raises:
        OrbituneError: the place is taken, the hub has no such repository, or what it has is no whole bundle.
    """
    out = Path(out)
    check_place(out)
    if out.exists():
        raise OrbituneError(taken(out))
    source = snapshot(repo_id, "model", patterns=HUB_FILES)
    Bundle.open(source)
    with replacing(out) as folder:
        for part in (".", CARRIED, EXAMPLES):  # what else a repository has is no part of a bundle
            files = [file for file in (source / part).glob("*") if file.is_file()]
            if files:
                (folder / part).mkdir()
            for file in files:  # links, in the hub's cache
                (folder / part / file.name).write_bytes(file.read_bytes())
    return Bundle.open(out)
