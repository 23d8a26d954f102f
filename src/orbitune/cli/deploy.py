"""The verbs that come after training: bundle, import, predict, export, serve."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from orbitune.cli.output import Json, Quiet, print_json, print_table
from orbitune.errors import OrbituneError

if TYPE_CHECKING:
    from orbitune.inference.bundle import Bundle
    from orbitune.inference.classifier import Prediction

app = typer.Typer()

Out = Annotated[Path, typer.Option("--out", help="Folder of the bundle; it must not exist")]
BackboneOption = Annotated[
    str | None, typer.Option("--backbone", help="The backbone, where it no longer lies where it did")
]


@app.command()
def bundle(
    run: Annotated[Path, typer.Argument(help="A finished run folder")],
    out: Out,
    dtype: Annotated[
        str, typer.Option(help="Storage of the weights: float32, float16 or bfloat16, with the loss stated")
    ] = "float32",
    false_alarm_rate: Annotated[
        float, typer.Option(help="Share of good tiles that may be called unlike the training tiles")
    ] = 0.01,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make one folder of all a prediction needs, with a model card, that plain PEFT opens."""
    from orbitune.inference.bundle_builder import build_bundle

    made = build_bundle(run, out, dtype, false_alarm_rate, not quiet)  # type: ignore[arg-type]
    if as_json:
        print_json({"folder": str(out), **made.facts})
    else:
        _print_bundle(made)


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="A LoRA folder of PEFT, over transformers 4 or 5 or timm")],
    backbone: Annotated[str, typer.Option(help="The backbone it was trained on: hub id or folder")],
    labels: Annotated[str, typer.Option(help="Class names in the order of its head, such as Forest,River")],
    out: Out,
    as_json: Json = False,
) -> None:
    """Make a bundle of an adapter that another program trained."""
    from orbitune.adapters.importer import import_adapter

    names = tuple(labels.split(","))
    made = import_adapter(
        folder, backbone, names, out, lambda line: print(f"warning: {line}", file=sys.stderr)
    )
    if as_json:
        print_json({"folder": str(out), **made.facts})
    else:
        _print_bundle(made)


@app.command()
def predict(
    source: Annotated[str, typer.Argument(help="A bundle, a finished run, or a bundle's hub id")],
    inputs: Annotated[list[str], typer.Argument(help="Files, folders, or patterns such as 'tiles/*.png'")],
    top_k: Annotated[int, typer.Option(min=1, help="Labels per image")] = 3,
    form: Annotated[str, typer.Option("--format", help="table, csv or jsonl")] = "table",
    out: Annotated[Path | None, typer.Option("--out", help="File to write in place of stdout")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in memory at once")] = 64,
    backbone: BackboneOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl")] = False,
    quiet: Quiet = False,
) -> None:
    """Predict the classes of images. A bad file is a row with an error; the others go on."""
    from orbitune.inference.classifier import Classifier
    from orbitune.inference.image_inputs import check_paths, expand
    from orbitune.inference.output_formats import find_form

    write = find_form("jsonl" if as_json else form)
    check_paths(inputs)
    classifier = Classifier(source, backbone)
    bar = not quiet and (out is not None or not sys.stdout.isatty())
    with _opened(out) as file, _Counter(bar, lambda: sum(1 for _ in expand(inputs))) as counter:
        predictions = counter.watch(classifier.predict(inputs, top_k, batch_size))
        for line in write(predictions, classifier.classes, top_k):
            print(line, file=file)
    for line in counter.remarks():
        print(line, file=sys.stderr)
    if classifier.bundle.likeness is None:
        print(
            f"no image is called not sure, as {source} does not describe its training tiles; what "
            "`orbitune bundle` makes does",
            file=sys.stderr,
        )
    if counter.seen and counter.bad == counter.seen:
        raise OrbituneError("No file could be read: see their rows.")


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="A bundle")],
    repo_id: Annotated[str, typer.Argument(help="Model repository on the hub: owner/name")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private")] = False,
) -> None:
    """Upload a bundle to the Hugging Face hub."""
    from orbitune.inference.hub_transfer import push

    print(push(folder, repo_id, private))


@app.command()
def pull(repo_id: Annotated[str, typer.Argument(help="Bundle on the hub: owner/name")], out: Out) -> None:
    """Download a bundle from the Hugging Face hub, and check that it is whole."""
    from orbitune.inference.hub_transfer import pull

    _print_bundle(pull(repo_id, out))


@app.command()
def serve(
    sources: Annotated[list[str], typer.Argument(help="Bundles, finished runs, or bundles' hub ids")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on")] = 7860,
    login: Annotated[
        str | None,
        typer.Option(help="USER:PASSWORD to ask for; or set the variable", envvar="ORBITUNE_LOGIN"),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Host name to answer to besides --host, such as a proxy's; give it once for each"),
    ] = None,
    root_path: Annotated[
        str, typer.Option(help="Path that a proxy serves the app below, such as /tiles")
    ] = "",
    backbone: BackboneOption = None,
) -> None:
    """Serve models as a web app, with Gradio's API and a JSON endpoint, until it is interrupted."""
    from orbitune.serving.app import parse_login
    from orbitune.serving.security.allowed_hosts import AllowedHosts, parse_root_path
    from orbitune.serving.server import serve
    from orbitune.serving.service import PredictionService, name_models

    account, path = parse_login(login), parse_root_path(root_path)
    hosts = AllowedHosts.for_address(host, tuple(allow_host or ()))
    service = PredictionService(name_models(sources), backbone)

    def say(where: str) -> None:
        names = ", ".join(service.models)
        user_option = "-u USER:PASSWORD " if login else ""
        print(
            f"{names} at {where}; JSON: curl {user_option}-F file=@tile.png {where}/api/predict", flush=True
        )

    serve(service, host, port=port, login=account, hosts=hosts, root_path=path, on_ready=say)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A finished run folder")],
    to: Annotated[
        str, typer.Option(help="merged, onnx, onnx-int8, openvino, openvino-int8, some of them, or all")
    ] = "all",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the files [default: RUN/export]")
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Points of validation accuracy that int8 may lose")] = 0.5,
    merge_tokens: Annotated[
        str, typer.Option(help="Blocks after which int8 halves the patches, such as 3,6 [default: none]")
    ] = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a run's model in forms that need no Orbitune; what differs from the trained model is not kept."""
    from orbitune.exporting.exporter import export as write
    from orbitune.exporting.validation import check_table

    def say(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr)

    report = write(run, to, out, tolerance, merge_tokens, not quiet, say)
    if as_json:
        print_json(report)
    else:
        print_table(*check_table(report["forms"]))


@app.command("map")
def map_(
    source: Annotated[str, typer.Argument(help="A bundle, a finished run, or a bundle's hub id")],
    scene: Annotated[
        str, typer.Argument(help="A raster that rasterio opens: a file, zip://, https:// or s3:// address")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="GeoTIFF of the map, in COG layout")],
    bands: Annotated[
        str, typer.Option(help="Numbers of red, green and blue, from 1 [default: as the file names them]")
    ] = "",
    stride: Annotated[
        int | None,
        typer.Option(help="A label every so many pixels, such as 64, 32, 16 or 8 [default: the tile]"),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="tiles: one by one; dense: tiles share tokens; auto: dense at small strides")
    ] = "auto",
    scale: Annotated[
        str | None,
        typer.Option(
            help="What becomes 0:255, such as 0:2750, or 2%:98% of each band [default: by type and tags]"
        ),
    ] = None,
    resolution: Annotated[float, typer.Option(help="Metres per pixel of the training tiles")] = 10.0,
    grid: Annotated[
        str, typer.Option(help="Pixels of the map: as the scene's (scene), or one for each label (cells)")
    ] = "scene",
    confidence: Annotated[Path | None, typer.Option(help="GeoTIFF of each label's probability")] = None,
    polygons: Annotated[Path | None, typer.Option(help="GeoPackage of the map as polygons")] = None,
    preview: Annotated[Path | None, typer.Option(help="PNG with legend and scale bar")] = None,
    not_sure: Annotated[
        str, typer.Option(help="on: what is unlike the training tiles gets no class; off: all get one")
    ] = "on",
    memory_budget: Annotated[str, typer.Option(help="Memory that may be used")] = "2GB",
    engine: Annotated[str, typer.Option(help="local, or ray for many machines")] = "local",
    backbone: BackboneOption = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a land-cover map of a whole scene. The same command goes on where it was stopped."""
    from orbitune.mapping.options import MapOptions, Outputs, parse_bands
    from orbitune.mapping.pipeline import map_scene

    report = map_scene(
        source,
        scene,
        Outputs(out, confidence, polygons, preview),
        MapOptions(
            parse_bands(bands), stride, mode, scale, resolution, grid, memory_budget, engine, not_sure
        ),
        backbone,
        not quiet,
        lambda line: None if quiet else print(line, file=sys.stderr),
    )
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print_json(report.to_json())
        return
    print_table(*report.table())
    if (agreement := report.agreement) and agreement["cells"]:
        print(f"as tile by tile at {agreement['share']:.1%} of {agreement['cells']:,} cells")
    print(f"saved {out}")


class _Counter:
    """Counts predictions as they pass by, with a bar on stderr."""

    def __init__(self, shown: bool, total: Any) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        shown = shown and console.is_terminal
        columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not shown)
        self._task = self._bar.add_task("", total=total() if shown else None)
        self.seen = self.bad = self.unlike = 0

    def __enter__(self) -> "_Counter":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def watch(self, predictions: "Iterable[Prediction]") -> "Iterator[Prediction]":
        for prediction in predictions:
            self.seen += 1
            self.bad += prediction.error is not None
            self.unlike += prediction.sure is False
            self._bar.advance(self._task)
            yield prediction

    def remarks(self) -> list[str]:
        lines = [f"{self.bad:,} of {self.seen:,} files could not be read: see their rows"] if self.bad else []
        if self.unlike:
            lines.append(f"{self.unlike:,} of {self.seen:,} are not like the training tiles")
        return lines


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    from orbitune.files import replacing

    if out is None:
        yield sys.stdout
        return
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file


def _print_bundle(made: "Bundle") -> None:
    facts = made.facts
    size = sum(file.stat().st_size for file in made.folder.iterdir())
    print(f"saved {made.folder} ({size / 1e6:.2f} MB): {facts['method']}, {len(made.classes)} classes")
    for split, scores in facts["scores"].items():
        low, high = scores["interval"]
        print(f"{split} accuracy {scores['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%})")
    storage = facts.get("storage", {})
    if "accuracy_after" in storage:
        print(
            f"stored as {storage['dtype']}: validation accuracy {storage['accuracy_before']:.3%} before, "
            f"{storage['accuracy_after']:.3%} after; a logit differs by at most "
            f"{storage['largest_logit_difference']:.2g}"
        )
    if likeness := facts.get("likeness"):
        print(
            f"tiles beyond a distance of {likeness['threshold']:.2f} are called unlike the training tiles "
            f"({likeness['false_alarm_rate']:.1%} of the validation tiles, {likeness['bytes'] / 1e3:,.0f} kB)"
        )


adapters = typer.Typer(help="List, check, compare and merge bundles and finished runs.", no_args_is_help=True)
app.add_typer(adapters, name="adapters", rich_help_panel=None)

Source = Annotated[Path, typer.Argument(help="A bundle, or a finished run")]


@adapters.command("list")
def list_(
    folder: Annotated[Path, typer.Argument(help="Folder to look in, and below")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List every bundle and finished run in a folder."""
    from orbitune.adapters.tools import find

    found = find(folder)
    if as_json:
        print_json(found)
        return
    rows = [
        [
            each["path"],
            each["method"],
            str(each["classes"]),
            f"{each['image_size']} px",
            f"{each['bytes'] / 1e6:.2f} MB",
            "" if each["test_accuracy"] is None else f"{each['test_accuracy']:.2%}",
        ]
        for each in found
        if "error" not in each
    ]
    print_table(["folder", "method", "classes", "size", "on disk", "test accuracy"], rows)
    for each in found:
        if "error" in each:
            print(f"damaged: {each['error']}")


@adapters.command()
def verify(source: Source, backbone: BackboneOption = None, as_json: Json = False) -> None:
    """Check that a bundle or run is whole, belongs to its backbone, and loads."""
    from orbitune.adapters.tools import verify

    checked = verify(source, backbone)
    if as_json:
        print_json(checked)
        return
    for name, outcome in checked.items():
        print(f"{name}: {outcome}")


@adapters.command()
def compare(one: Source, other: Source, as_json: Json = False) -> None:
    """Say how far two low-rank adapters change each layer, and how much they agree."""
    from orbitune.adapters.tools import compare

    layers = compare(one, other)
    if as_json:
        print_json(layers)
        return
    header = ["layer", f"change by {one}", f"by {other}", "cosine"]
    numbers = [
        [each["layer"], *(f"{each[key]:.3f}" for key in ("one", "other", "cosine"))] for each in layers
    ]
    print_table(header, numbers)


@adapters.command()
def merge(
    one: Source,
    other: Source,
    out: Out,
    share: Annotated[float, typer.Option(min=0, max=1, help="Weight of the first")] = 0.5,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make one adapter of two runs, the weighted mean of their updates, and score it beside them."""
    from orbitune.adapters.tools import merge

    scores = merge(one, other, out, share, not quiet)
    if as_json:
        print_json(scores)
        return
    names = ("one", "other", "merged")
    rows = [[each["tiles"], *(f"{each[name]:.2%}" for name in names)] for each in scores]
    print_table(["validation tiles of", str(one), str(other), "merged"], rows)
    print(f"saved {out}")
