"""Two trained models, by the images on which one alone is right."""

import numpy as np


def models(wins: int, losses: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Two models, bool (1, images), that are both right but where one alone is."""
    method, reference = np.ones((2, 1, images), bool)
    reference[:, :wins] = False
    method[:, wins : wins + losses] = False
    return method, reference
