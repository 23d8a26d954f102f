"""What a model computes of labelled tiles."""

from dataclasses import dataclass

import numpy as np

from orbitune.assessment.labelled_tiles import LabelledTiles
from orbitune.assessment.training_tiles import TrainingTiles
from orbitune.data.bad_files import BadFiles
from orbitune.data.leakage.near_duplicates import Fingerprints
from orbitune.errors import DataError
from orbitune.inference.classifier import Classifier
from orbitune.models.lineage.seen_tiles import tile_sums
from orbitune.progress import ProgressDisplay

_BATCH = 64


@dataclass(frozen=True)
class Outputs:
    """What a model computed of N labelled tiles.

    Attributes:
        places: positions of the tiles that could be read among the labelled ones, int64 (N,).
        labels: their classes, int64 (N,) or uint8 (N, C), as `LabelledTiles` has them.
        logits: float32 (N, C), not calibrated.
        sure: bool (N,); None where the model has no out-of-distribution detector.
        fingerprints: of the tiles; None where they are not compared with training tiles.
        sums: CRC-32 of the tiles, uint32 (N,).
    """

    places: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    sure: np.ndarray | None
    fingerprints: Fingerprints | None
    sums: np.ndarray


def compute_outputs(
    classifier: Classifier,
    tiles: LabelledTiles,
    *,
    bad: BadFiles,
    training: TrainingTiles | str,
    progress: bool,
) -> Outputs:
    """Compute all tiles, and their fingerprints if they are to be compared.

    Args:
        classifier: the model.
        tiles: to compute.
        bad: receives the files that cannot be read.
        training: the tiles that they are compared with afterwards, or why they are not.
        progress: show progress on stderr.

    Raises:
        DataError: a file cannot be read while `bad.stop` is set, or none can.
    """
    places: list[int] = []
    logits, sure, prints, sums = [], [], [], []
    images = (tiles.image(place) for place in range(len(tiles.rows)))
    with ProgressDisplay(progress) as display, display.task("evaluating", len(tiles.rows)) as task:
        start = 0
        for batch in classifier.compute(images, batch_size=_BATCH):
            read = []
            for place, (image, tile) in enumerate(zip(batch.images, batch.decoded, strict=True), start):
                if isinstance(tile, str):
                    bad.add(str(image.name), tile)
                else:
                    places.append(place)
                    read.append(tile)
            logits.append(batch.logits)
            if batch.distances is not None:
                sure += [classifier.is_sure(distance) for distance in batch.distances.tolist()]
            if read:
                sums.append(tile_sums(np.stack(read)))
            if isinstance(training, TrainingTiles) and read:
                prints.append(training.fingerprints(np.stack(read)))
            start += len(batch.images)
            task.advance(len(batch.images))
    if not places:
        raise DataError("None of the files of the data could be read.")
    return Outputs(
        places=np.array(places, np.int64),
        labels=tiles.labels[places],
        logits=np.concatenate(logits),
        sure=np.array(sure, bool) if sure else None,
        fingerprints=Fingerprints.join(prints) if prints else None,
        sums=np.concatenate(sums),
    )
