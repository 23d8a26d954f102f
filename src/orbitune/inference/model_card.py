"""The model card of a bundle, in the hub's format, written from what was measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.evaluation.run_result import RunResult
from orbitune.hub import looks_like_path
from orbitune.inference.bundle import LIKENESS_FILE
from orbitune.models.families import Family
from orbitune.models.methods import find_method
from orbitune.recipe_paths import data_name

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


def write_card(folder: Path, facts: dict[str, Any], result: RunResult, family: Family) -> None:
    """Write README.md: YAML with a model index, which the hub reads, and the same for people."""
    from huggingface_hub import ModelCard, ModelCardData

    backbone, data = facts["backbone"]["reference"], facts["data"]["name"]
    adapter = find_method(facts["method"]).folder == "adapter"
    metadata = ModelCardData(
        model_name=_title(facts),
        library_name="peft" if adapter else "transformers",
        pipeline_tag="image-classification",
        base_model=None if looks_like_path(backbone) else backbone,
        datasets=[data] if _on_hub(data) else None,
        metrics=["accuracy", "f1"],
        tags=["orbitune", "satellite", "land-cover", facts["method"]],
        eval_results=_eval_results(facts),
    )
    sections = [
        f"# {_title(facts)}",
        _what(facts, result),
        "## Use\n\n" + _use(facts, adapter, family),
        "## Scores\n\n" + _scores(facts, result),
        "## Probabilities, and tiles of another kind\n\n" + _trust(facts),
        "## Made from\n\n" + _origin(facts),
    ]
    ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n").save(folder / "README.md")


def _title(facts: dict[str, Any]) -> str:
    method, data = find_method(facts["method"]).title, data_name(facts["data"]["name"])
    return f"{method[0].upper()}{method[1:]} of {facts['backbone']['description']} on {data}"


def _on_hub(data: str) -> bool:
    return "/" in data and not looks_like_path(data)


def _eval_results(facts: dict[str, Any]) -> "list[EvalResult]":
    from huggingface_hub import EvalResult

    name = facts["data"]["name"]
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=name if _on_hub(name) else data_name(name).replace(" ", "-"),
            dataset_name=data_name(name),
            dataset_split=split,
            metric_type=metric,
            metric_name=words,
            metric_value=scores[key],
        )
        for split, scores in facts["scores"].items()
        for metric, key, words in (("accuracy", "accuracy", "Accuracy"), ("f1", "macro_f1", "Macro-F1"))
    ]


def _what(facts: dict[str, Any], result: RunResult) -> str:
    size = facts["preprocessing"]["image_size"]
    trained, total = (result.parameters[part] for part in ("trainable", "total"))
    text = (
        f"Classifies satellite tiles into {len(facts['classes'])} classes: {', '.join(facts['classes'])}. "
        f"{find_method(facts['method']).title} on a {facts['backbone']['description']}, at {size} x {size} "
        f"pixels; {trained:,} of {total:,} parameters were trained."
    )
    if facts["data"]["synthetic"]:
        text += "\n\n**The tiles were drawn by a program: the scores say nothing about satellite images.**"
    return text


def _use(facts: dict[str, Any], adapter: bool, family: Family) -> str:
    arguments = "".join(f", {name}={value}" for name, value in family.forward.items())
    load = (
        f"""base = AutoModelForImageClassification.from_pretrained(
    "{facts["backbone"]["reference"]}", num_labels={len(facts["classes"])}, ignore_mismatched_sizes=True
)
model = PeftModel.from_pretrained(base, "FOLDER").eval()"""
        if adapter
        else 'model = AutoModelForImageClassification.from_pretrained("FOLDER").eval()'
    )
    return f"""```python
from orbitune import Classifier

for prediction in Classifier("FOLDER").predict("tiles/"):
    print(prediction.input, prediction.labels, prediction.sure)
```

or without Orbitune, for raw logits:

```python
from transformers import AutoImageProcessor, AutoModelForImageClassification
{"from peft import PeftModel" if adapter else ""}
{load}
pixels = AutoImageProcessor.from_pretrained("FOLDER")(image, return_tensors="pt")
logits = model(**pixels{arguments}).logits
```"""


def _scores(facts: dict[str, Any], result: RunResult) -> str:
    rows = ["| split | tiles | accuracy | 95 % interval | macro-F1 |", "| --- | --- | --- | --- | --- |"]
    for split, scores in facts["scores"].items():
        low, high = scores["interval"]
        rows.append(
            f"| {split} | {scores['count']:,} | {scores['accuracy']:.2%} | {low:.2%} to {high:.2%} | "
            f"{scores['macro_f1']:.4f} |"
        )
    classes = ["| class | precision | recall | F1 | test tiles |", "| --- | --- | --- | --- | --- |"]
    classes += [
        f"| {each['name']} | {each['precision']:.3f} | {each['recall']:.3f} | {each['f1']:.3f} | "
        f"{each['support']:,} |"
        for each in result.test["per_class"]
    ]
    reads = f"The best epoch was chosen on validation; the test split was read {_times(result.test_reads)}."
    if facts["tta"] != "none":
        reads += " Scores and predictions are of the mean over a tile's flips and turns."
    return "\n".join(rows) + f"\n\n{reads}\n\n" + "\n".join(classes)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _trust(facts: dict[str, Any]) -> str:
    likeness, storage = facts["likeness"], facts["storage"]
    text = (
        f"Logits are divided by {facts['temperature']:.4f}, a temperature fitted on validation, before the "
        f"softmax.\n\n`{LIKENESS_FILE}` ({likeness['bytes'] / 1000:,.0f} kB) says what "
        f"{likeness['training_tiles']:,} training tiles are like: {likeness['measure']}. A tile beyond a "
        f"distance of {likeness['threshold']:.3f} is called unlike them. Of {likeness['validation_tiles']:,} "
        f"validation tiles {likeness['false_alarm_rate']:.1%} are, at most."
    )
    if storage["dtype"] == "float32":
        return text + "\n\nWeights are stored in 32 bits, as trained."
    return text + (
        f"\n\nWeights are stored as {storage['dtype']}. On the {storage['tiles']:,} validation tiles, "
        f"accuracy was {storage['accuracy_before']:.3%} before and {storage['accuracy_after']:.3%} after; "
        f"the largest difference of a logit is {storage['largest_logit_difference']:.2g}."
    )


def _origin(facts: dict[str, Any]) -> str:
    data, used = facts["data"], facts["preprocessing"]
    sizes = ", ".join(f"{count:,} {name}" for name, count in data["sizes"].items())
    lines = [
        f"- backbone: {facts['backbone']['description']}, SHA-256 of its weights "
        f"`{facts['backbone']['weights_sha256']}`",
        f"- tiles: {data['source']}; {sizes}; fingerprint `{data['fingerprint']}`",
        f"- split: {data['split']}, SHA-256 `{data['splits_sha256']}`",
        f"- pixels: to {used['image_size']} x {used['image_size']} ({used['resample']}), divided by 255, "
        f"mean {used['mean']}, standard deviation {used['std']}, from {used['stated_by']}",
        f"- recipe `{facts['recipe_hash']}`, {facts['made_by']}",
        *(f"- {note}" for note in data["notes"]),
    ]
    return "\n".join(lines)
