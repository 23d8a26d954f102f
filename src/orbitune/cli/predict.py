"""Predict the classes of images: `predict`."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from orbitune.cli.help import OUTPUT, CommandSet
from orbitune.cli.options import BackboneOption, BandsOption, Quiet, parse_bands_option
from orbitune.errors import DataError, OrbituneError, counted

if TYPE_CHECKING:
    from orbitune.inference.prediction import Prediction

app = CommandSet("Trained models")


@app.command()
def predict(
    source: Annotated[str, typer.Argument(help="Bundle, finished run, or hub id of a bundle")],
    inputs: Annotated[
        list[str], typer.Argument(help="Image files, folders, or patterns such as 'tiles/*.png'")
    ],
    top_k: Annotated[
        int | None,
        typer.Option(min=1, help="Labels per image, at most [default: 3; of several labels a tile all]"),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="table, csv or jsonl", rich_help_panel=OUTPUT)
    ] = "table",
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write instead of stdout", rich_help_panel=OUTPUT)
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch")] = 64,
    bands: BandsOption = None,
    backbone: BackboneOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Same as --format jsonl", rich_help_panel=OUTPUT)
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Predict the classes of images. An unreadable file becomes a row with an error."""
    from orbitune.inference.classifier import Classifier
    from orbitune.inference.image_inputs import check_input_paths, expand
    from orbitune.inference.output_formats import find_format

    write = find_format("jsonl" if as_json else form)
    check_input_paths(inputs)
    if out and out.exists() and out.resolve() in (Path(str(each.name)).resolve() for each in expand(inputs)):
        raise DataError("The images and the file to write must have different names.")
    classifier = Classifier.from_pretrained(source, backbone=backbone, bands=parse_bands_option(bands))
    bar = not quiet and (out is not None or not sys.stdout.isatty())
    with _open_output(out) as file, _Counter(bar, lambda: sum(1 for _ in expand(inputs))) as counter:
        predictions = counter.count(classifier.predict(inputs, top_k=top_k, batch_size=batch_size))
        count = classifier.bundle.task.label_count(len(classifier.classes), top_k)
        for line in write(predictions, classifier.classes, count=count):
            print(line, file=file)
    for line in counter.remarks():
        print(line, file=sys.stderr)
    if classifier.bundle.ood_detector is None:
        print(
            f"{source} has no OOD detector, so no image is called not sure; `orbitune bundle` adds one to a "
            "run with 20 validation tiles or more",
            file=sys.stderr,
        )
    if counter.seen and counter.bad == counter.seen:
        raise OrbituneError("No file could be read: see their rows.")


class _Counter:
    """Counter of written predictions, with a progress bar on stderr."""

    def __init__(self, shown: bool, total: Any) -> None:
        from orbitune.progress import ProgressDisplay

        self._display = ProgressDisplay(shown)
        self._task = self._display.task("predicting", total() if shown else 0)
        self.seen = self.bad = self.not_sure = 0

    def __enter__(self) -> "_Counter":
        self._display.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._display.__exit__(None, None, None)

    def count(self, predictions: "Iterable[Prediction]") -> "Iterator[Prediction]":
        """Yield the predictions and count them."""
        for prediction in predictions:
            self.seen += 1
            self.bad += prediction.error is not None
            self.not_sure += prediction.sure is False
            self._task.advance()
            yield prediction

    def remarks(self) -> list[str]:
        """Return a line each about unreadable files and images that are not sure."""
        lines = (
            [f"{self.bad:,} of {counted(self.seen, 'file')} could not be read: see their rows"]
            if self.bad
            else []
        )
        if self.not_sure:
            are = "is" if self.not_sure == 1 else "are"
            images = counted(self.seen, "image")
            lines.append(f"{self.not_sure:,} of {images} {are} not sure: out of distribution")
        return lines


@contextmanager
def _open_output(out: Path | None) -> Iterator[TextIO]:
    """Open the file to write, or standard output."""
    from orbitune.files import replacing

    if out is None:
        yield sys.stdout
        return
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file
