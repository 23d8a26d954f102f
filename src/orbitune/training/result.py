"""RunResult: everything that was measured in one run, as its result.json keeps it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orbitune.errors import RunError
from orbitune.files import read_sealed_json, write_sealed_json

FORMAT = 1


@dataclass(frozen=True)
class RunResult:
    """One finished run.

    Attributes:
        recipe: the resolved recipe.
        parameters: counts of each part, see `orbitune.models.methods.count_parameters`.
        backbone: name, plain description, hash of the weight files.
        preprocessing: image size, mean, std, resampling, and who stated them.
        data: source, fingerprint, classes, sizes of the splits, notes.
        best_epoch: the epoch, from 1, whose weights were kept, by validation accuracy.
        validation, test: scores, see `orbitune.evaluation.metrics.score`.
        test_reads: how often the test split has been read.
        history: losses, accuracies, learning rate and seconds of each epoch.
        cost: seconds, images per second of training, peak memory in bytes, size on disk in bytes;
            energy_joules, None where the machine shows none, and energy_source, which says what was counted.
            Runs from before energy was measured have neither.
        compute: how it was computed: fast path or why not, precision, attention kernel, micro-batch.
        proof: largest difference of a logit after reloading from disk in a fresh process.
    """

    recipe: dict[str, Any]
    recipe_hash: str
    parameters: dict[str, int]
    backbone: dict[str, Any]
    preprocessing: dict[str, Any]
    data: dict[str, Any]
    best_epoch: int
    validation: dict[str, Any]
    test: dict[str, Any]
    test_reads: int
    history: list[dict[str, float]]
    cost: dict[str, Any]
    compute: dict[str, Any]
    proof: dict[str, Any]
    format: int = FORMAT

    def save(self, folder: Path) -> None:
        """Write result.json into the run folder."""
        write_sealed_json(folder / "result.json", asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "RunResult":
        """Read a finished run; RunError where there is none."""
        file = Path(folder) / "result.json"
        if not file.is_file():
            raise RunError(f"{folder} holds no finished run (no result.json).")
        try:
            return cls(**read_sealed_json(file))
        except (OSError, ValueError, TypeError):
            raise RunError(
                f"{file} is damaged or of another version. Restore it, or train anew with another --out."
            ) from None
