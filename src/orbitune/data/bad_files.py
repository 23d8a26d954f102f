"""Files of a data set that are not labelled tiles."""

from collections.abc import Sequence

from orbitune.errors import DataError, counted, printable

_REASONS = 3  # reasons that a message names


class BadFiles:
    """Files that are not labelled tiles: an error at the first, or a list of all.

    Attributes:
        stop: whether the first one is an error.
        found: (name, reason) of each.
    """

    def __init__(self, *, stop: bool) -> None:
        self.stop = stop
        self.found: list[tuple[str, str]] = []

    def add(self, name: str, reason: str) -> None:
        """Add a file that is not a labelled tile, with the reason.

        Raises:
            DataError: `stop` is set.
        """
        self.add_all([(name, reason)])

    def add_all(self, files: Sequence[tuple[str, str]]) -> None:
        """Add files, as (name, reason), that are not labelled tiles.

        Raises:
            DataError: `stop` is set, and there are any; the message has their number for each reason.
        """
        if self.stop and files:
            them = "it" if len(files) == 1 else "them"
            raise DataError(
                f"{_by_reason(files)}. Fix or remove {them}, or leave such files out with "
                "--on-bad-image skip."
            )
        self.found += files


def _by_reason(files: Sequence[tuple[str, str]]) -> str:
    """Return the first file of each reason, with the number of files that share it."""
    names: dict[str, list[str]] = {}
    for name, reason in files:
        names.setdefault(reason, []).append(name)
    parts = [
        f"{printable(same[0])} {reason}{f' ({len(same):,} files)' if len(same) > 1 else ''}"
        for reason, same in [*names.items()][:_REASONS]
    ]
    further = sum(len(same) for same in [*names.values()][_REASONS:])
    return "; ".join([*parts, *([f"and {counted(further, 'file')} for other reasons"] if further else [])])
