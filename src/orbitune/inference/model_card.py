"""Model card of a bundle in the hub's format, with the measured scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orbitune.data.transform import LARGEST
from orbitune.errors import counted
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.tasks.known import find_task
from orbitune.inference.bundle import OOD_DETECTOR_FILE
from orbitune.models.families.family import Family
from orbitune.models.files.checkpoint_files import PATCH_HEAD_FILE
from orbitune.models.lineage.adaptation import Adaptation
from orbitune.models.lineage.fine_tuned import CARRIED
from orbitune.models.metadata import BackboneRecord, ModelMetadata, WeightStorage
from orbitune.models.methods import find_method
from orbitune.recipe_paths import data_name
from orbitune.sources.hub_ids import looks_like_path

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


_BACKBONE = "BACKBONE"  # stands for a folder, as FOLDER does
_METRIC_TYPES = {"mAP": "average_precision", "macro-F1": "f1", "micro-F1": "f1"}  # as the hub names them
_PATCH_HEAD = (
    f"`{PATCH_HEAD_FILE}` labels windows smaller than a tile in maps: a linear head on the patch tokens "
    "after a third of the layers, fitted to mosaics of training tiles, with limits for *not sure* of its own."
)


def write_model_card(
    folder: Path, metadata: ModelMetadata, *, family: Family, result: RunResult | None = None
) -> None:
    """Write README.md with a YAML model index, as the hub reads it.

    Args:
        folder: folder of the bundle.
        metadata: its orbitune.json.
        family: backbone family, for the description.
        result: result of the run; None for a bundle that was adapted, whose scores are in its metadata.
    """
    from huggingface_hub import ModelCard, ModelCardData

    backbone, data = metadata.backbone, metadata.data.name or ""
    pretrained = backbone.ancestors[0].base if backbone.ancestors else backbone.reference
    on_hub = "/" in pretrained and not looks_like_path(pretrained)
    adapter = find_method(metadata.method).folder == "adapter"
    header = ModelCardData(
        model_name=_title(metadata),
        library_name="peft" if adapter else "transformers",
        pipeline_tag="image-classification",
        base_model=pretrained if on_hub else None,
        datasets=[data] if _on_hub(data) else None,
        metrics=_metrics(metadata) or None,
        tags=["orbitune", "satellite", "land-cover", metadata.method],
        eval_results=_eval_results(metadata),
    )
    sections = [
        f"# {_title(metadata)}",
        _description(metadata),
        "## Use\n\n" + _usage(metadata, adapter, family=family, base=_base(folder, metadata)),
        *(["## Scores\n\n" + _scores(metadata, result)] if result else []),
        *(["## Adaptation\n\n" + _adaptation(metadata.adaptation)] if metadata.adaptation else []),
        *(["## Taught classes\n\n" + metadata.taught.describe()] if metadata.taught else []),
        "## Calibration and out-of-distribution tiles\n\n" + _calibration(metadata),
        *(
            ["## Windows smaller than a tile\n\n" + _PATCH_HEAD]
            if (folder / PATCH_HEAD_FILE).exists()
            else []
        ),
        "## Training\n\n" + _training(metadata),
    ]
    ModelCard(f"---\n{header.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n").save(folder / "README.md")


def _title(metadata: ModelMetadata) -> str:
    """Return the title: method, backbone and data, and the scene of an adaptation."""
    method = find_method(metadata.method).title
    title = f"{method[0].upper()}{method[1:]} of {metadata.backbone.description}"
    if metadata.data.name:
        title += f" on {data_name(metadata.data.name)}"
    return f"{title}, adapted to {metadata.adaptation.scene}" if metadata.adaptation else title


def _metrics(metadata: ModelMetadata) -> list[str]:
    """Return the hub's names of the metrics."""
    names = (_METRIC_TYPES.get(name, name) for each in metadata.scores.values() for name in each.headline())
    return list(dict.fromkeys(names))


def _on_hub(data: str) -> bool:
    """Return whether a data set is named by a hub id."""
    return "/" in data and not looks_like_path(data)


def _eval_results(metadata: ModelMetadata) -> "list[EvalResult]":
    """Return the main scores of each split for the model index."""
    from huggingface_hub import EvalResult

    name = metadata.data.name or ""
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=name if _on_hub(name) else data_name(name).replace(" ", "-"),
            dataset_name=data_name(name),
            dataset_split=split,
            dataset_args={"split": metadata.data.split_name, "tiles": scores.count},
            metric_type=_METRIC_TYPES.get(score, score),
            metric_name=score if score == "mAP" else score[0].upper() + score[1:],
            metric_value=value,
        )
        for split, scores in metadata.scores.items()
        for score, value in scores.headline().items()
    ]


def _description(metadata: ModelMetadata) -> str:
    """Return the description of the model."""
    size, classes = metadata.preprocessing.image_size, metadata.classes
    text = (
        f"Classifies satellite tiles into {counted(len(classes), 'class')}, "
        f"{find_task(metadata.task).title}: "
        f"{', '.join(classes)}. "
        f"{find_method(metadata.method).title} on a {metadata.backbone.description}, at {size} x {size} "
        "pixels"
    )
    if counts := metadata.parameters:
        text += f"; {counts.trainable:,} of {counts.total:,} parameters were trained"
    text += "."
    if metadata.data.synthetic:
        text += "\n\n**The tiles were drawn by a program: the scores say nothing about satellite images.**"
    return text


def _base(folder: Path, metadata: ModelMetadata) -> str:
    """Return what an adapter is loaded over: the backbone that its folder carries, a hub id, or BACKBONE."""
    if (folder / CARRIED).is_dir():
        return f"FOLDER/{CARRIED}"
    reference = metadata.backbone.reference
    return reference if "/" in reference else _BACKBONE


def _usage(metadata: ModelMetadata, adapter: bool, *, family: Family, base: str) -> str:
    """Return the snippets that load the model."""
    ours = """```python
from orbitune import Classifier

for prediction in Classifier.from_pretrained("FOLDER").predict("tiles/"):
    print(prediction.input, prediction.labels, prediction.sure)
```"""
    count = len(metadata.preprocessing.bands)
    # transformers passes no number of bands on to the image encoder, needs torchvision for timm's layout, and
    # does not read other image sizes with timm's models.
    ours_alone = (count != 3 and family.nests_config) or base.startswith("timm/") or family.name_parts
    if adapter and ours_alone:
        return ours
    arguments = "".join(f", {name}={value}" for name, value in family.forward.items())
    sizes = f"num_labels={len(metadata.classes)}" + (f", num_channels={count}" if count != 3 else "")
    module, name = (family.classifier or "transformers:AutoModelForImageClassification").split(":")
    load = (
        f"""base = {name}.from_pretrained(
    "{base}", {sizes}, ignore_mismatched_sizes=True
)
model = PeftModel.from_pretrained(base, "FOLDER").eval()"""
        if adapter
        else f'model = {name}.from_pretrained("FOLDER").eval()'
    )
    # For timm's models, transformers would follow the checkpoint's settings, and not those of the training.
    processor = "ViTImageProcessor" if family.name_parts else "AutoImageProcessor"
    imports = [f"from transformers import {processor}", f"from {module} import {name}"]
    if module == "transformers":
        imports = [f"from transformers import {', '.join(sorted((processor, name)))}"]
    where = ""
    if adapter and base == _BACKBONE:
        where = f", where {_BACKBONE} is the folder of the {metadata.backbone.description}"
    imported = "\n".join([*imports, *(["from peft import PeftModel"] if adapter else [])])
    return f"""{ours}

or {"without Orbitune" if module == "transformers" else "with transformers"}, for raw logits{where}:

```python
{imported}

{load}
pixels = {processor}.from_pretrained("FOLDER")(image, return_tensors="pt")
logits = model(**pixels{arguments}).logits
```"""


def _scores(metadata: ModelMetadata, result: RunResult) -> str:
    """Return the tables of scores."""
    columns = list(next(iter(metadata.scores.values())).cells())
    rows = _table(
        ["split", "tiles", *columns],
        [[split, f"{each.count:,}", *each.cells().values()] for split, each in metadata.scores.items()],
    )
    rows = f"On the {metadata.data.split_name}:\n\n{rows}"
    for split in metadata.scores:
        if seen := metadata.describe_seen(split):
            rows += f"\n\n**{seen}.**"
    header, cells = result.test.class_table()
    classes = _table([*header[:-1], f"test {header[-1]}"], cells)
    reads = f"The best epoch was chosen on validation; the test split was read {_times(result.test_reads)}."
    if metadata.tta != "none":
        reads += " Scores and predictions are of the mean over a tile's flips and turns."
    return f"{rows}\n\n{reads}\n\n{classes}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _adaptation(adaptation: Adaptation) -> str:
    """Return the section on the points of an adaptation and the scores on them."""
    scores, (low, high) = adaptation.scores, adaptation.scores.gain_interval
    rows = ["| head | accuracy | 95 % interval | macro-F1 (95 % interval) |", "| --- | --- | --- | --- |"]
    rows += [
        f"| {name} | {each.accuracy:.1%} | {each.interval[0]:.1%} to {each.interval[1]:.1%} | "
        f"{each.describe_macro_f1(3)} |"
        for name, each in (("before", scores.before), ("after", scores.after))
    ]
    listed = ", ".join(f"{name} {count:,}" for name, count in adaptation.points.items())
    return (
        f"The head of `{adaptation.parent}` (SHA-256 of its orbitune.json `{adaptation.parent_sha256}`) was "
        f"refitted to {adaptation.count:,} labelled points of {adaptation.scene}: {listed}. All other "
        "weights are those of the parent. `orbitune.json` keeps the places of the points: dense maps of the "
        "scene are fitted to them too.\n\n"
        + "\n".join(rows)
        + f"\n\nLabels of {adaptation.window} x {adaptation.window} pixels around the points, each held out "
        f"in {scores.folds}-fold cross-validation. The gain is {100 * scores.gain:+.1f} percentage points "
        f"(paired 95 % interval {100 * low:+.1f} to {100 * high:+.1f}). It holds for places of "
        "this scene like the points." + (f"\n\n**{seen}.**" if (seen := scores.warning()) else "")
    )


def _times(count: int) -> str:
    """Return a number of times in words."""
    return "once" if count == 1 else f"{count} times"


def _calibration(metadata: ModelMetadata) -> str:
    """Return the section on temperature, OOD detector and storage."""
    fitted_on = "held-out points" if metadata.adaptation else "validation"
    text = f"Logits are divided by {metadata.temperature:.4f}, a temperature fitted on {fitted_on}"
    if metadata.offsets:
        listed = zip(metadata.classes, metadata.offsets, strict=True)
        text += f", and shifted by offsets fitted with it ({', '.join(f'{a} {b:.3f}' for a, b in listed)})"
    text += f", before the {find_task(metadata.task).activation}."
    if metadata.thresholds:
        text += (
            " A tile has every label whose probability reaches its threshold in `orbitune.json`: the one "
            "with the highest F1 on validation, half for a class without validation tiles. "
            "Validation F1 is at these thresholds, fitted on the same tiles, and so optimistic."
        )
    if detector := metadata.ood_detector:
        text += (
            f"\n\n`{OOD_DETECTOR_FILE}` ({detector.bytes / 1000:,.0f} kB) is an out-of-distribution "
            f"detector, fitted on {detector.training_tiles:,} training tiles. The OOD score is the "
            f"{detector.measure}. A tile with a score above {detector.threshold:.3f} is *not sure*: of tiles "
            f"like the training tiles at most {100 * detector.false_alarm_rate:.3g} % on average, set on "
            f"{detector.validation_tiles:,} validation tiles."
        )
    return text + (f"\n\n{_storage(metadata.storage)}" if metadata.storage else "")


def _storage(storage: WeightStorage) -> str:
    """Return sentences on the storage type of the weights, and what it changed."""
    if storage.dtype == "float32":
        return "Weights are stored in 32 bits, as trained."
    text = f"Weights are stored as {storage.dtype}."
    if change := storage.describe_change():
        text += f" On the {storage.tiles:,} validation tiles: {change}."
    return text


def _chain(backbone: BackboneRecord) -> list[str]:
    """Return the lines on the fine-tuned models that a backbone comes from."""
    if not backbone.ancestors:
        return []
    first = backbone.ancestors[0]
    return [
        f"- chain of the backbone: {first.base}, SHA-256 of its weights `{first.base_sha256}`",
        *(f"  {number}. {link.describe()}" for number, link in enumerate(backbone.ancestors, 1)),
    ]


def _training(metadata: ModelMetadata) -> str:
    """Return the list of what the model was trained with."""
    data, used = metadata.data, metadata.preprocessing
    sizes = ", ".join(f"{count:,} {name}" for name, count in data.sizes.items())
    tiles = [data.source, sizes, data.fingerprint and f"fingerprint `{data.fingerprint}`"]
    lines = [
        f"- backbone: {metadata.backbone.summary}, SHA-256 of its weights "
        f"`{metadata.backbone.weights_sha256}`",
        *_chain(metadata.backbone),
        "- tiles: " + ("; ".join(filter(None, tiles)) or "unknown"),
        *([f"- split: {data.split_name}, SHA-256 `{data.splits_sha256}`"] if data.split else []),
        f"- pixels: to {used.image_size} x {used.image_size} ({used.resample}), divided by "
        f"{LARGEST[used.dtype]}, mean {list(used.mean)}, standard deviation {list(used.std)}, from "
        f"{used.stated_by}; bands {', '.join(used.bands)}",
        f"- recipe `{metadata.recipe_hash or 'unknown'}`, {metadata.made_by}",
        *(f"- {note}" for note in data.notes),
    ]
    return "\n".join(lines)
