"""Pages of many classes and many errors stay small."""

import numpy as np
from score_views import CLASSES, view

from orbitune.evaluation.details.misclassified import find_misclassified
from orbitune.reporting.confusion import confusion_panel
from orbitune.reporting.drawing import report_style
from orbitune.reporting.tile_gallery import SHOWN, misclassified_gallery


def test_a_dense_confusion_of_many_classes_is_an_image():
    counts = np.random.default_rng(0).integers(0, 40, (200, 200))
    with report_style():
        panel = confusion_panel(
            "confusion",
            "Test tiles",
            counts=counts,
            classes=[f"Class {number}" for number in range(200)],
            colour="#0072b2",
            of="the test tiles",
            synthetic=False,
        )
    assert len(panel.svg) < 1_000_000 and "data:image/png;base64," in panel.svg


def test_pictures_of_large_tiles_are_shrunk():
    random = np.random.default_rng(0)
    shown = view(200)
    found = find_misclassified(random.random((200, len(CLASSES))), np.zeros(200, np.int64))[:SHOWN]
    gallery = misclassified_gallery(
        "errors",
        found,
        view=shown,
        names=[f"{number}.png" for number in range(SHOWN)],
        pictures=random.integers(0, 256, (SHOWN, 512, 512, 3), np.uint8),
    )
    assert sum(len(tile.source) for tile in gallery.tiles) < 2_000_000
