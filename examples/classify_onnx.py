"""Classify images with an exported .onnx file.

It needs onnxruntime, numpy and Pillow, and nothing else.

python classify_onnx.py model.onnx tile.png another.jpg
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image


def main(model: str, *images: str) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    labels, (height, width) = json.loads(facts["labels"]), json.loads(facts["tile_size"])
    thresholds = json.loads(facts.get("thresholds", "null"))
    for image in images:
        with Image.open(image) as opened:
            # The graph reads tiles of the size it was trained on; all else is inside it.
            tile = np.asarray(opened.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
        (probabilities,) = session.run(None, {"tiles": tile[None]})[0]
        best = probabilities.argsort()[::-1]
        # A model of several labels a tile has a threshold for each, else the first three are shown.
        best = best[(probabilities >= thresholds)[best]] if thresholds else best[:3]
        found = ", ".join(f"{labels[i]} {probabilities[i]:.1%}" for i in best)
        print(f"{image}: {found or 'no label'}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
