"""Small real parquet data sets, made by the tests."""

from pathlib import Path

from image_files import encode, tile

CLASSES = ("Forest", "River", "Sea")


def parquet(path: Path, rows: int = 6, **columns: object) -> Path:
    """A parquet file as the hub's push makes it.

    `columns` are (feature, values), or None to drop one.
    """
    from datasets import ClassLabel, Dataset, Features, Image, Value

    images = [{"bytes": encode(tile(i)), "path": None} for i in range(rows)]
    made = {
        "image": (Image(), images),
        "label": (ClassLabel(names=list(CLASSES)), [i % 3 for i in range(rows)]),
        "filename": (Value("string"), [f"{path.stem}_{i}.png" for i in range(rows)]),
        **columns,
    }
    kept = {name: column for name, column in made.items() if column}
    features = Features({name: feature for name, (feature, _) in kept.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict({name: values for name, (_, values) in kept.items()}, features).to_parquet(path)
    return path
