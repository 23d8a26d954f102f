"""Check of the class names of a data set."""

from orbitune.errors import DataError


def check_class_names(classes: tuple[str, ...]) -> None:
    """Check that class names are distinct; parquet files may repeat them.

    Raises:
        DataError: one is empty, or two are equal.
    """
    if empty := [number for number, name in enumerate(classes, 1) if not name.strip()]:
        raise DataError(f"Class {empty[0]} of the data has no name; name it in its labels.")
    if len(set(classes)) < len(classes):
        twice = [name for name in classes if classes.count(name) > 1]
        raise DataError(f"Two classes of the data are named {twice[0]!r}; name them apart in its labels.")
