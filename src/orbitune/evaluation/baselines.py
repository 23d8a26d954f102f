"""Two alarms that need no network: how far colours alone come, and how far coordinates alone come.

Both are fitted on the training tiles and scored on test as every method is. What colours reach is no merit of
a network (ImageStats of torchgeo-bench); what coordinates reach is location that leaks through the split
(Roberts et al. 2017, Ecography 40:913), and does not tell how a model does elsewhere.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from orbitune.data.georeference import unit_vectors
from orbitune.data.tileset import TileSet
from orbitune.evaluation.metrics import SplitScores, score

NEIGHBOURS = 5
LANDMARKS = 500  # training tiles that span the kernel
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_AT_ONCE = 1000  # tiles read
_LEVELS = 256


def colour_baseline(tiles: TileSet, splits: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Logistic regression on `colour_statistics` in the features of a Gaussian kernel (Nystroem).

    On EuroSAT RGB (random / published spatial split) it reaches 83.7 / 69.4 %, where linear logistic
    regression reached 72.3 / 62.0 %, boosted trees 82.2 / 65.8 % and extra trees 81.3 / 63.5 %; unlike trees
    it can be fitted on a few tiles of each class.

    Returns:
        See `coordinates_baseline`.
    """
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = colour_statistics(tiles)
    kernel = Nystroem(
        gamma=1 / features.shape[1], n_components=min(LANDMARKS, len(splits["train"])), random_state=0
    )
    model = make_pipeline(StandardScaler(), kernel, LogisticRegression(C=100, max_iter=2000))
    scores, chance = _fit_and_score(model, features, tiles, splits)
    reach = f"colour statistics alone reach {scores.accuracy:.1%} (chance {chance:.1%})"
    return {
        "name": "colour statistics",
        "chance": chance,
        "sentence": f"{reach}: what a method adds is the rest",
        "test": scores.to_json(),
    }


def coordinates_baseline(
    tiles: TileSet, splits: Mapping[str, np.ndarray], ground: np.ndarray
) -> dict[str, Any]:
    """The nearest training tiles on the ground vote, each weighted by one over its distance.

    Args:
        ground: as `orbitune.data.georeference.read_locations` gives it.

    Returns:
        Ready for JSON: name; chance, the accuracy of always naming the commonest training class; sentence;
        test, the scores, see `orbitune.evaluation.metrics.SplitScores`.
    """
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(min(NEIGHBOURS, len(splits["train"])), weights="distance")
    scores, chance = _fit_and_score(model, unit_vectors(ground), tiles, splits)
    reach = f"coordinates alone reach {scores.accuracy:.1%} (chance {chance:.1%})"
    leaks = scores.interval[0] > chance
    verdict = "the split leaks location" if leaks else "no more than chance, the split leaks no location"
    return {
        "name": "coordinates",
        "chance": chance,
        "sentence": f"{reach}: {verdict}",
        "test": scores.to_json(),
    }


def colour_statistics(tiles: TileSet) -> np.ndarray:
    """Mean, deviation and five quantiles (5 to 95 %) of each channel, float64 (N, 21), in grey levels."""
    rows = np.arange(len(tiles.labels))
    parts = np.array_split(rows, -(-len(rows) // _AT_ONCE))
    return np.concatenate([_statistics(tiles.read(part)) for part in parts])


def _statistics(pixels: np.ndarray) -> np.ndarray:
    """The same of uint8 (B, H, W, 3), from each channel's histogram, which is faster than sorting pixels."""
    count, height, width, channels = pixels.shape
    offsets = (np.arange(count * channels) * _LEVELS).reshape(count, 1, 1, channels)
    total = count * channels * _LEVELS
    counts = np.bincount((pixels + offsets).ravel(), minlength=total).reshape(count, channels, _LEVELS)
    levels, shares = np.arange(_LEVELS), counts / (height * width)
    mean = shares @ levels
    deviation = np.sqrt(np.maximum(shares @ levels**2 - mean**2, 0))
    below = shares.cumsum(2)
    quantiles = [(below < share - 1e-9).sum(2) for share in _QUANTILES]
    return np.stack([mean, deviation, *quantiles], axis=2).reshape(count, -1)


def _fit_and_score(
    model: Any, features: np.ndarray, tiles: TileSet, splits: Mapping[str, np.ndarray]
) -> tuple[SplitScores, float]:
    """Scores on test of a scikit-learn classifier fitted on train, and the chance level."""
    train, test = splits["train"], splits["test"]
    model.fit(features[train], tiles.labels[train])
    # The floor is the answer to a class for which no neighbour votes, whose logarithm would be infinite.
    logits = np.log(np.maximum(model.predict_proba(features[test]), 1e-6))
    commonest = np.bincount(tiles.labels[train]).argmax()
    return score(logits, tiles.labels[test], tiles.classes), float((tiles.labels[test] == commonest).mean())
