"""Gallery of the test tiles on which methods disagree most."""

from pathlib import Path

from orbitune.errors import counted
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Collapsible, Component, Gallery, GalleryTile
from orbitune.reporting.tile_gallery import png_uri
from orbitune.study.display_names import method_name
from orbitune.study.findings import DisagreementRecord, DisputedTile
from orbitune.study.report.view_model import ReportView


def disagreements(view: ReportView, folder: Path) -> list[Component]:
    """Return the disputed tiles of each split; where their image is missing, as text in a fold.

    Args:
        view: of the study, with a record for each split.
        folder: holds the images.
    """
    galleries = [_gallery(view, record, folder=folder) for record in view.results.disagreements]
    return [each if each.image else Collapsible(each.caption, [each]) for each in galleries]


def _gallery(view: ReportView, record: DisagreementRecord, *, folder: Path) -> Gallery:
    """Return the disputed tiles of one split with the prediction of each method.

    Args:
        view: of the study.
        record: the tiles and the file of their image.
        folder: holds the image; without it the gallery has text only.
    """
    file = folder / record.image
    found = file.is_file()
    sources = _cut_tiles(file, record) if found else [None] * len(record.tiles)
    tiles = [
        GalleryTile(source, tile.name, tile.label, _answer_lines(tile))
        for source, tile in zip(sources, record.tiles, strict=True)
    ]
    count = counted(len(tiles), "test tile")
    where = " of the ".join(filter(None, [count, view.split_name(record.split)]))
    caption = f"{where} on which the methods disagree most"
    return Gallery(caption, record.image if found else None, tiles)


def _cut_tiles(file: Path, record: DisagreementRecord) -> list[str | None]:
    """Return each tile of the image as a data URI."""
    from PIL import Image

    height, width = record.tile_size
    sources: list[str | None] = []
    with Image.open(file) as image:
        for place in range(len(record.tiles)):
            row, column = divmod(place, record.columns)
            left, top = column * width, row * height
            sources.append(png_uri(image.crop((left, top, left + width, top + height))))
    return sources


def _answer_lines(tile: DisputedTile) -> list[str]:
    """List the methods that are correct, then each wrong class with its methods."""
    answers: dict[str, list[str]] = {}
    for method, answer in tile.predicted.items():
        answers.setdefault(answer, []).append(method_name(method))
    correct = answers.pop(tile.label, [])
    lines = [f"Correct: {fmt.listed(correct) if correct else 'none'}"]
    return [*lines, *(f"{answer}: {fmt.listed(names)}" for answer, names in answers.items())]
