"""Graphs of small models with random weights, and what ONNX Runtime computes with them."""

import numpy as np
import onnx
import onnxruntime
import torch
from transformers import AutoConfig

from orbitune.data.transform import Transform
from orbitune.exporting.vit_graph import INPUT, TileFormat, ViTGraph
from orbitune.exporting.weights import read_weights
from orbitune.models.families.classifiers import empty_classifier
from orbitune.models.families.table import FAMILIES

TEMPERATURE = 1.5
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 5,
}


def small_model(model_type="vit", distilled=False, **settings):
    torch.manual_seed(0)
    small = {"vision_config": SMALL, "num_labels": SMALL["num_labels"]} if model_type == "siglip" else SMALL
    config = AutoConfig.for_model(model_type, **small, **settings)
    teacher = "WithTeacher" if distilled else ""
    config.architectures = [f"DeiTForImageClassification{teacher}"]  # of the two that DeiT has
    model = empty_classifier(config, FAMILIES[model_type])
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval().requires_grad_(False)


def graph_of(model, bands=3, side=32, size=32, resample="bilinear", dtype="uint8"):
    mean, std = (0.5, 0.4, 0.3, 0.2)[:bands], (0.2, 0.3, 0.4, 0.5)[:bands]
    family = FAMILIES[model.config.model_type]
    weights = read_weights(model, family, grid=size // 8)
    transform = Transform(size, mean, std, resample)
    return ViTGraph(weights, transform, TileFormat(side, side, bands, dtype), TEMPERATURE)


def tiles_of(graph, count=5):
    used = graph.tiles
    highest = np.iinfo(used.dtype).max
    shape = count, used.height, used.width, used.bands
    return np.random.default_rng(0).integers(0, highest, shape, used.dtype, endpoint=True)


def run(graph, tiles):
    model = graph.write()
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {INPUT: tiles})[0]
