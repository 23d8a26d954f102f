"""Records of the fine-tuned models that another one was trained on."""

from collections.abc import Sequence
from itertools import pairwise, zip_longest

from orbitune.models.lineage.scores import Sha256
from orbitune.records import Record

_SHOWN = 12  # hex digits of a hash


class Ancestor(Record):
    """One link of the chain from a pretrained checkpoint to the backbone of a model.

    Attributes:
        name: of the run or bundle: of its folder, or its hub id.
        folder: its absolute path when it was used as a backbone, on this machine; None in what is shipped.
        method: name of its fine-tuning method.
        base: what it was trained on: hub id, folder, name of a folder, or `demo`.
        base_sha256: over the weights that it was trained on.
        saved_sha256: over its own weight files: of the adapter, or of all weights.
        merged_sha256: over the weights with the adapter merged; `saved_sha256` where it has all weights.
        data: name of its data set.
        fingerprint: of its tiles.
    """

    name: str
    folder: str | None = None
    method: str
    base: str
    base_sha256: Sha256
    saved_sha256: Sha256
    merged_sha256: Sha256
    data: str | None = None
    fingerprint: str | None = None

    def describe(self) -> str:
        """Return the link with its hashes."""
        own = "weights" if self.saved_sha256 == self.merged_sha256 else "adapter"
        merged = f", merged `{self.merged_sha256}`" if own == "adapter" else ""
        trained_on = f" on {self.data}" if self.data else ""
        return f"{self.name} ({self.method}{trained_on}): {own} `{self.saved_sha256}`{merged}"


def check_joined(ancestors: Sequence[Ancestor], weights_sha256: str) -> None:
    """Check that each link starts from the weights that the one before ends with.

    Args:
        ancestors: the oldest first.
        weights_sha256: of the backbone, which the last link ends with.

    Raises:
        ValueError: one does not; the message names the link.
    """
    for number, (before, link) in enumerate(pairwise(ancestors), 2):
        if link.base_sha256 != before.merged_sha256:
            raise ValueError(
                f"link {number} of its chain ({link.name}) starts from other weights than {before.name} has"
            )
    if ancestors and ancestors[-1].merged_sha256 != weights_sha256:
        raise ValueError(
            f"link {len(ancestors)} of its chain ({ancestors[-1].name}) ends with other weights than those "
            "of the backbone"
        )


def changed_link(stated: Sequence[Ancestor], found: Sequence[Ancestor]) -> str | None:
    """Return what the first link that differs is, in words; None where none does.

    Names and folders may differ.

    Args:
        stated: chain that a model was trained on, the oldest first.
        found: chain of the backbone at hand.
    """
    for number, (old, new) in enumerate(zip_longest(stated, found), 1):
        if old is None:
            return f"link {number} of its chain, {new.name}, is not of the training"
        if new is None:
            return f"link {number} of its chain, {old.name} ({old.method}), is missing"
        for part, name in (
            ("the weights that it starts from", "base_sha256"),
            ("its own weights", "saved_sha256"),
            ("its merged weights", "merged_sha256"),
        ):
            then, now = getattr(old, name), getattr(new, name)
            if then != now:
                return (
                    f"link {number} of its chain, {old.name} ({old.method}), has changed: {part} are "
                    f"{now[:_SHOWN]}, not {then[:_SHOWN]}"
                )
    return None
