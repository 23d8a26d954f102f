"""Export to a folder of static files: a page that classifies in the browser.

The page is built from the folder web/ of the repository, and lies in `page/`. The model is written beside it:
its graph, compressed, and `model.json`. The graph returns features and OOD scores too. The OOD
detector is fitted to the features of this graph, as `orbitune.inference.bundle_builder` fits that of a bundle
to those of the trained model.
"""

import hashlib
import json
import shutil
import zlib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.exporting.onnx_export import add_metadata, open_onnx, open_session
from orbitune.exporting.ood_nodes import add_ood_score
from orbitune.exporting.vit_graph import FEATURES, INPUT, OOD_SCORE, OUTPUT
from orbitune.exporting.web.rounded_weights import add_rounded
from orbitune.exporting.web.scene_settings import describe_scenes
from orbitune.files import write_json
from orbitune.inference.ood_fitting import choose_rate, compute_outputs, fit_on_features, map_limits
from orbitune.models.files.head_tensors import read_head
from orbitune.models.methods import find_method
from orbitune.progress import ProgressDisplay

if TYPE_CHECKING:
    from orbitune.evaluation.ood import OODDetector
    from orbitune.exporting.reference import Predict, ReferenceModel

PAGE = Path(__file__).parent / "page"
GRAPH, MODEL, FILES, LEARNING = "model.onnx.gz", "model.json", "files.js", "learning.f32"
FORMAT = 2  # of model.json
# Training tiles of each class that the page remembers when it learns, and of all classes.
FEWEST_REMEMBERED, MOST_REMEMBERED, ALL_REMEMBERED = 4, 20, 1000


def why_no_page(reference: "ReferenceModel") -> str | None:
    """Return why a browser cannot prepare the tiles of a model, to follow a colon; None where it can."""
    used = reference.setup.preprocessing
    if used.is_rgb:
        return None
    return (
        f"a browser opens 8-bit pictures, and the model reads {used.dtype} tiles of {len(used.bands)} bands"
    )


def write_web(reference: "ReferenceModel", folder: Path) -> None:
    """Write the page with the model.

    Args:
        reference: the model to export.
        folder: folder to write.
    """
    model = replace(reference.graph, linear=add_rounded, patches=add_rounded).write(features=True)
    graph = _Graph(model)
    rate = choose_rate(None, len(reference.setup.splits["validation"]))
    detector: OODDetector | None = None
    fitted, limits = np.empty(0, np.int64), dict[str, float]()
    shutil.copytree(PAGE, folder)
    with ProgressDisplay(reference.progress) as display:
        if rate is not None:
            detector, fitted, held_out = fit_on_features(graph, reference.setup, rate=rate, display=display)
            add_ood_score(model, FEATURES, detector=detector, output=OOD_SCORE)
            limits = map_limits(
                graph,
                reference.setup,
                detector=detector,
                held_out=held_out,
                calibrate=lambda probabilities: probabilities,  # inside the graph
                display=display,
            )
        learning = _write_learning(
            folder, reference, graph=graph, detector=detector, fitted=fitted, display=display
        )
    threshold = {} if detector is None else {"ood_threshold": repr(detector.threshold)}
    add_metadata(model, reference, **threshold)
    content = _compress(model.SerializeToString())
    (folder / GRAPH).write_bytes(content)
    stated = {
        **_describe(reference, detector=detector, rate=rate),
        "graph": {"file": GRAPH, "bytes": len(content)},
        "learning": learning,
        "scene": describe_scenes(reference, limits),
    }
    write_json(folder / MODEL, stated)
    _write_file_list(folder)


def open_web(folder: Path, reference: "ReferenceModel") -> "Predict":
    """Return a prediction function of the page's graph, computed by ONNX Runtime on the CPU.

    Args:
        folder: what `write_web` wrote.
        reference: the model that it was exported from.
    """
    return open_onnx(folder / GRAPH, reference)


def _compress(content: bytes) -> bytes:
    """Return content in the format of gzip; weights repeat no strings, and a search makes it larger."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31, 9, zlib.Z_HUFFMAN_ONLY)
    return compressor.compress(content) + compressor.flush()


class _Graph:
    """The graph as `fit_on_features` measures it; each tile is computed once."""

    def __init__(self, model: Any) -> None:
        self._session = open_session(model.SerializeToString())
        self._known: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

    def compute(self, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        keys = [hashlib.sha256(tile).digest() for tile in tiles]
        new = [place for place, key in enumerate(keys) if key not in self._known]
        if new:
            found = self._session.run([OUTPUT, FEATURES], {INPUT: tiles[new]})
            self._known |= zip((keys[place] for place in new), zip(*found, strict=True), strict=True)
        probabilities, features = zip(*(self._known[key] for key in keys), strict=True)
        return np.stack(probabilities), np.stack(features)


def _write_learning(
    folder: Path,
    reference: "ReferenceModel",
    *,
    graph: _Graph,
    detector: "OODDetector | None",
    fitted: np.ndarray,
    display: ProgressDisplay,
) -> dict[str, Any] | None:
    """Write what the page needs to teach the model further classes; None with several labels a tile.

    Float32, little-endian: weight (C, D) and bias (C,) of the head, the detector's whitening (D, D), and
    features (N, D) of some training tiles, so that the classes of the model are not forgotten: first of those
    that the detector was `fitted` to, whose features are known.
    """
    if reference.bundle.task.name != "single-label":
        return None
    setup, classes = reference.setup, len(reference.bundle.classes)
    weight, bias = read_head(reference.bundle.folder, setup.backbone.family)
    train = np.random.default_rng(0).permutation(setup.splits["train"])
    train = train[np.argsort(~np.isin(train, fitted), kind="stable")]
    labels = setup.tiles.labels[train]
    most = max(FEWEST_REMEMBERED, min(MOST_REMEMBERED, ALL_REMEMBERED // classes))
    chosen = np.sort(np.concatenate([train[labels == label][:most] for label in range(classes)]))
    features = compute_outputs(graph, setup, indices=chosen, title="remembered tiles", display=display)[1]
    whitening = np.empty(0, np.float32) if detector is None else detector.whitening
    parts = (weight, bias, whitening, features)
    (folder / LEARNING).write_bytes(b"".join(part.astype("<f4").tobytes() for part in parts))
    return {"file": LEARNING, "width": weight.shape[1], "labels": setup.tiles.labels[chosen].tolist()}


def _describe(
    reference: "ReferenceModel", *, detector: "OODDetector | None", rate: float | None
) -> dict[str, Any]:
    """Return what the page has to know of the model, and shows of it."""
    bundle = reference.bundle
    metadata, (width, height) = bundle.metadata, bundle.tile_size
    about = {
        "Backbone": metadata.backbone.summary,
        "Method": find_method(metadata.method).title,
        "Tiles": metadata.data.source,
    }
    scores = {
        f"{split.capitalize()}, {each.count:,} tiles": ", ".join(
            f"{name} {value:.2%}" for name, value in each.headline().items()
        )
        for split, each in metadata.scores.items()
    }
    return {
        "format": FORMAT,
        "name": bundle.name,
        "made_by": f"orbitune {version('orbitune')}",
        "task": bundle.task.name,
        "classes": list(bundle.classes),
        "thresholds": bundle.decision.thresholds and list(bundle.decision.thresholds),
        "temperature": bundle.temperature,
        "tile": {"width": width, "height": height},
        "not_sure": None if detector is None else {"threshold": detector.threshold, "rate": rate},
        "synthetic": metadata.data.synthetic,
        "about": about,
        "scores": scores,
        "hashes": reference.hashes,
    }


def _write_file_list(folder: Path) -> None:
    """Write the sizes of all files, and a hash of their content, for page and service worker."""
    files = {
        path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
    }
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(name.encode() + path.read_bytes())
    listed = {
        "version": digest.hexdigest()[:16],
        "bytes": {name: path.stat().st_size for name, path in files.items()},
    }
    (folder / FILES).write_text(f"self.ORBITUNE_FILES = {json.dumps(listed)};\n")
