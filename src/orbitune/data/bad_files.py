"""Files of a data set that are not labelled tiles."""

from collections.abc import Sequence

from orbitune.errors import DataError, printable


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
            DataError: `stop` is set, and there are any; the message has their number.
        """
        if self.stop and files:
            name, reason = files[0]
            them = "it"
            if len(files) > 1:
                reason, them = f"{reason}; {len(files):,} files are not labelled tiles", "them"
            raise DataError(
                f"{printable(name)} {reason}. Fix or remove {them}, or leave such files out with "
                "--on-bad-image skip."
            )
        self.found += files
