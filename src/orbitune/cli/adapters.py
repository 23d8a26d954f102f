"""Commands `bundle`, `import`, `push`, `pull` and `adapters`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbitune.cli.help import CommandSet
from orbitune.cli.options import BackboneOption, BundleOut, Json, Quiet
from orbitune.cli.output import print_json, print_table
from orbitune.errors import counted

if TYPE_CHECKING:
    from orbitune.inference.bundle import Bundle

app = CommandSet("Bundles and adapters")
adapters = CommandSet("Commands", help="List, verify, compare and merge bundles and finished runs.")
app.add_typer(adapters, name="adapters", rich_help_panel="Bundles and adapters")

Source = Annotated[Path, typer.Argument(help="Bundle or finished run")]


@app.command()
def bundle(
    run: Annotated[Path, typer.Argument(help="Finished run folder")],
    out: BundleOut,
    dtype: Annotated[
        str, typer.Option(help="Data type of the stored weights: float32, float16 or bfloat16")
    ] = "float32",
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(
            help="Fraction of in-distribution tiles that may be called not sure; times the number of "
            "validation tiles, 5 or more [default: 0.01, or the smallest that they hold]"
        ),
    ] = None,
    examples: Annotated[
        bool,
        typer.Option(
            "--examples",
            help="Put a validation tile of each class in it, for the app to offer; whether they may be "
            "passed on is for the licence of the data to say",
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bundle a run: a folder with all that prediction needs. PEFT can load it."""
    from orbitune.inference.bundle_builder import build_bundle

    made = build_bundle(
        run,
        out,
        dtype=dtype,  # type: ignore[arg-type]
        false_alarm_rate=false_alarm_rate,
        examples=examples,
        progress=not quiet,
    )
    if as_json:
        print_json({"folder": str(out), **made.metadata.to_json()})
    else:
        print_bundle(made)


@app.command("import")
def import_(
    folder: Annotated[
        Path, typer.Argument(help="PEFT LoRA folder, for transformers 4, transformers 5 or timm")
    ],
    backbone: Annotated[str, typer.Option(help="Backbone of the adapter: hub id or folder")],
    labels: Annotated[str, typer.Option(help="Class names in the order of the head, such as Forest,River")],
    out: BundleOut,
    as_json: Json = False,
) -> None:
    """Import an adapter that was trained elsewhere as a bundle."""
    from orbitune.adapters.importer import import_adapter

    names = tuple(labels.split(","))
    made = import_adapter(
        folder,
        backbone,
        labels=names,
        out=out,
        log=lambda line: print(f"warning: {line}", file=sys.stderr),
    )
    if as_json:
        print_json({"folder": str(out), **made.metadata.to_json()})
    else:
        print_bundle(made)


@app.command("import-head")
def import_head_(
    head: Annotated[Path, typer.Argument(help="File that the page of `export --to web` saved")],
    source: Annotated[Path, typer.Argument(help="Bundle or finished run that was exported")],
    out: BundleOut,
    backbone: BackboneOption = None,
    as_json: Json = False,
) -> None:
    """Import a head that was taught in the browser as a bundle."""
    from orbitune.adapters.head_import import import_head

    made = import_head(head, source, out=out, backbone=backbone)
    if as_json:
        print_json({"folder": str(out), **made.metadata.to_json()})
    else:
        print_bundle(made)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="Bundle folder")],
    repo_id: Annotated[str, typer.Argument(help="Model repository on the hub: owner/name")],
    private: Annotated[bool, typer.Option("--private", help="Create the repository as private")] = False,
) -> None:
    """Upload a bundle to the Hugging Face hub."""
    from orbitune.inference.hub_transfer import push_to_hub

    print(push_to_hub(folder, repo_id, private=private))


@app.command()
def pull(
    repo_id: Annotated[str, typer.Argument(help="Hub id of the bundle: owner/name")], out: BundleOut
) -> None:
    """Download a bundle from the Hugging Face hub and verify it."""
    from orbitune.inference.hub_transfer import pull_from_hub

    print_bundle(pull_from_hub(repo_id, out))


@adapters.command("list")
def list_(
    folder: Annotated[Path, typer.Argument(help="Folder to search, with its subfolders")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List the bundles and finished runs in a folder."""
    from orbitune.adapters.tools import list_adapters

    found = list_adapters(folder)
    if as_json:
        print_json([each.to_json() for each in found])
        return
    rows = [
        [
            each.path,
            str(each.method),
            str(each.classes),
            f"{each.image_size} px",
            f"{(each.bytes or 0) / 1e6:.2f} MB",
            each.test_score,
            f"{each.test_tiles:,}" if each.test_tiles else "",
            each.split or "",
        ]
        for each in found
        if not each.error
    ]
    print_table(["folder", "method", "classes", "size", "on disk", "test", "tiles", "split"], rows)
    for each in found:
        if each.error:
            print(f"damaged: {each.error}")


@adapters.command()
def verify(source: Source, backbone: BackboneOption = None, as_json: Json = False) -> None:
    """Check the files and the backbone of a bundle or run, and load it."""
    from orbitune.adapters.tools import verify

    checked = verify(source, backbone)
    if as_json:
        print_json(checked)
        return
    for name, outcome in checked.items():
        print(f"{name}: {outcome}")


@adapters.command()
def compare(one: Source, other: Source, as_json: Json = False) -> None:
    """Compare two low-rank adapters layer by layer: size and cosine of their updates."""
    from orbitune.adapters.tools import compare

    layers = compare(one, other)
    if as_json:
        print_json([asdict(each) for each in layers])
        return
    header = ["layer", f"change by {one}", f"by {other}", "cosine"]
    numbers = [
        [each.layer, *(f"{value:.3f}" for value in (each.one, each.other, each.cosine))] for each in layers
    ]
    print_table(header, numbers)


@adapters.command()
def merge(
    one: Source,
    other: Source,
    out: BundleOut,
    weight: Annotated[float, typer.Option(min=0, max=1, help="Weight of the first adapter")] = 0.5,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Merge the adapters of two runs into their weighted mean, and score all three."""
    from orbitune.adapters.tools import merge

    scores = merge(one, other, out=out, weight=weight, progress=not quiet)
    if as_json:
        print_json([each.to_json() for each in scores])
        return
    rows = [
        [
            f"{each.tiles}, {each.split}",
            f"{each.count:,}",
            *(
                f"{accuracy:.2%}, {macro_f1:.4f}"
                for accuracy, macro_f1 in zip((each.one, each.other, each.merged), each.macro_f1, strict=True)
            ),
        ]
        for each in scores
    ]
    names = (f"accuracy, macro-F1 of {name}" for name in (one, other, "merged"))
    print_table(["validation tiles of", "tiles", *names], rows)
    print(f"saved {out}")


def print_bundle(made: "Bundle") -> None:
    """Print size, scores, loss by storage and OOD threshold of a new bundle."""
    metadata = made.metadata
    classes = counted(len(made.classes), "class")
    print(f"saved {made.folder} ({made.bytes / 1e6:.2f} MB): {metadata.method}, {classes}")
    for split, scores in metadata.scores.items():
        tiles = counted(scores.count, f"{split} tile")
        cells = ", ".join(f"{name} {text}" for name, text in scores.cells().items())
        print(f"{split}: {cells}, {tiles} of the {metadata.data.split_name}")
        if seen := metadata.describe_seen(split):
            print(f"warning: {seen}")
    if (storage := metadata.storage) and (change := storage.describe_change()):
        print(f"stored as {storage.dtype}: validation {change}")
    if detector := metadata.ood_detector:
        print(
            f"tiles with an OOD score above {detector.threshold:.2f} are not sure "
            f"(at most {100 * detector.false_alarm_rate:.3g} % of tiles like the training tiles, "
            f"{detector.bytes / 1e3:,.0f} kB)"
        )
