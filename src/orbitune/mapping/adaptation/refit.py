"""Refit of a classification head on the features of labelled windows."""

import numpy as np

from orbitune.inference.bundle_model import BundleModel
from orbitune.inference.linear_head import LinearHead
from orbitune.mapping.adaptation.labelled_windows import LabelledWindows
from orbitune.progress import ProgressDisplay


def window_features(network: BundleModel, windows: LabelledWindows, *, progress: bool) -> np.ndarray:
    """Compute the features of all windows.

    Args:
        network: the model of the bundle.
        windows: the labelled windows.
        progress: whether to show a progress bar on stderr.

    Returns:
        float32 (N, V, 8, D): of each point, window, and flip or quarter turn.
    """
    found = []
    with ProgressDisplay(progress) as display, display.task("features", len(windows.tiles)) as task:
        for tiles in windows.tiles:
            found.append(network.view_features(tiles))
            task.advance()
    return np.stack(found)


def refit_head(start: LinearHead, features: np.ndarray, *, labels: np.ndarray) -> LinearHead:
    """Return a head fitted to points, all of which count alike.

    Args:
        start: the head that weights are regularised towards.
        features: see `window_features`.
        labels: class indices, int64 (N,).

    Returns:
        The head, with the classes of `start`.
    """
    per_point = features.shape[1] * features.shape[2]
    targets = np.eye(len(start.bias))[labels].repeat(per_point, 0)
    return LinearHead.fit(features.reshape(len(targets), -1), targets, start=start)


def cell_logits(head: LinearHead, features: np.ndarray, *, tta: str) -> np.ndarray:
    """Return the logits by which a map labels the points' cells, float (N, C).

    Args:
        head: the head.
        features: see `window_features`.
        tta: test-time augmentation, see `forward_with_tta`.
    """
    from scipy.special import log_softmax, logsumexp

    views = head.logits(features[:, 0])
    if tta == "none":
        return np.asarray(views[:, 0])
    return np.asarray(logsumexp(log_softmax(views, -1), 1) - np.log(views.shape[1]))
