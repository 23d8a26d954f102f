"""Fine-tuning methods: the table of them, and what follows from a method for a built model.

To add a method, add one entry to METHODS; the command line, the study and the tests go through this table.
What each does to a model is in `orbitune.models.peft_methods`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orbitune.errors import ModelError
from orbitune.models import peft_methods
from orbitune.models.adalora import RankSchedule
from orbitune.models.families import Family
from orbitune.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Method:
    """A way to fine-tune.

    Attributes:
        title: its name in a sentence.
        summary: what is trained.
        apply: sets what is trainable, and returns the model to train (wrapped by PEFT or not).
        learning_rate: the peak rate where the recipe names none.
        paper: where the method comes from.
        folder: where a run keeps the result: `adapter` (a PEFT folder, which can be merged into the backbone)
            or `model` (all weights).
        factors: how many times the rate some tensors learn at, by a part of their names.
        schedule: what the method does beside the optimizer, of a model and the number of steps.
    """

    name: str
    title: str
    summary: str
    apply: Callable[["nn.Module", Family, Recipe], "nn.Module"]
    learning_rate: float
    paper: str
    folder: str = "adapter"
    factors: Callable[[Recipe], Mapping[str, float]] = lambda recipe: {}
    schedule: Callable[["nn.Module", int], RankSchedule] | None = None


# The rates, but those of `full` and `linear`, come from a search: ViT-Tiny/16 on 2,000 tiles of EuroSAT RGB,
# 64 pixels, 2 epochs, batch 64, one seed; rates a factor of 3 apart until both neighbours of the best were
# worse. Of those within a point of the best validation accuracy (1,000 tiles), the one of the lowest loss.
METHODS = {
    method.name: method
    for method in (
        Method(
            "full",
            "full fine-tuning",
            "every weight is trained",
            peft_methods.full,
            1e-4,
            "the usual fine-tuning",
            folder="model",
        ),
        Method(
            "linear",
            "linear probing",
            "only the head is trained",
            peft_methods.linear,
            1e-2,
            "linear probing (Alain and Bengio 2016, arXiv:1610.01644)",
        ),
        Method(
            "lora",
            "LoRA",
            "low-rank updates and the head are trained",
            peft_methods.lora,
            2e-3,
            "LoRA (Hu et al. 2021, arXiv:2106.09685)",
        ),
        Method(
            "rslora",
            "rsLoRA",
            "low-rank updates, scaled by alpha / sqrt(rank), and the head",
            peft_methods.rslora,
            3e-3,
            "rank-stabilised LoRA (Kalajdzievski 2023, arXiv:2312.03732)",
        ),
        Method(
            "dora",
            "DoRA",
            "low-rank updates of the weights' directions, their lengths, and the head",
            peft_methods.dora,
            6e-3,
            "weight-decomposed LoRA (Liu et al. 2024, arXiv:2402.09353)",
        ),
        Method(
            "pissa",
            "PiSSA",
            "the largest singular values and vectors of the weights, and the head",
            peft_methods.pissa,
            3e-3,
            "principal singular values and vectors adaptation (Meng et al. 2024, arXiv:2404.02948)",
        ),
        Method(
            "loraplus",
            "LoRA+",
            "low-rank updates whose second factor learns faster, and the head",
            peft_methods.lora,
            1e-3,
            "LoRA+ (Hayou et al. 2024, arXiv:2402.12354)",
            factors=lambda recipe: {".lora_B.": recipe.lora.plus_ratio},
        ),
        Method(
            "adalora",
            "AdaLoRA",
            "low-rank updates, as many in each layer as are of use, and the head",
            peft_methods.adalora,
            6e-3,
            "adaptive budget allocation (Zhang et al. 2023, arXiv:2303.10512)",
            schedule=RankSchedule,
        ),
        Method(
            "vera",
            "VeRA",
            "vectors that scale random matrices shared by all layers, and the head",
            peft_methods.vera,
            3e-2,
            "vector-based random matrix adaptation (Kopiczko et al. 2023, arXiv:2310.11454)",
        ),
        Method(
            "randlora",
            "RandLoRA",
            "scales of random bases of full rank shared by all layers, and the head",
            peft_methods.randlora,
            2e-3,
            "RandLoRA (Albert et al. 2025, arXiv:2502.00987)",
        ),
        Method(
            "fourierft",
            "FourierFT",
            "a few Fourier coefficients of the updates, and the head",
            peft_methods.fourierft,
            7e-4,
            "Fourier transform fine-tuning (Gao et al. 2024, arXiv:2405.03003)",
            factors=lambda recipe: {".fourierft_spectrum.": 100.0},
        ),
        Method(
            "oft",
            "OFT",
            "rotations of blocks of each layer's inputs, and the head",
            peft_methods.oft,
            2e-3,
            "orthogonal fine-tuning (Qiu et al. 2023, arXiv:2306.07280; 2025, arXiv:2506.19847)",
        ),
        Method(
            "ia3",
            "(IA)³",
            "scales of keys, values and the MLP's hidden units, and the head",
            peft_methods.ia3,
            3e-2,
            "(IA)³ (Liu et al. 2022, arXiv:2205.05638)",
        ),
        Method(
            "bitfit",
            "BitFit",
            "all bias terms and the head",
            peft_methods.bitfit,
            9e-3,
            "BitFit (Ben Zaken et al. 2021, arXiv:2106.10199)",
        ),
        Method(
            "norm",
            "norm tuning",
            "all layer normalisations and the head",
            peft_methods.norm,
            9e-3,
            "LayerNorm tuning (Zhao et al. 2023, arXiv:2312.11420)",
        ),
        Method(
            "topk",
            "top layers",
            "the last layers whole, and the head",
            peft_methods.topk,
            9e-4,
            "partial fine-tuning (Yosinski et al. 2014, arXiv:1411.1792)",
        ),
    )
}


def find_method(name: str) -> Method:
    """The method of that name; a ModelError that lists them where there is none."""
    if name not in METHODS:
        raise ModelError(f"There is no method {name!r}; there is: {', '.join(METHODS)}.")
    return METHODS[name]


def parameter_groups(model: "nn.Module", recipe: Recipe) -> list[dict[str, Any]]:
    """The trainable tensors in an optimizer's groups, by how many times the rate they learn at (`factor`)."""
    factors = find_method(recipe.method).factors(recipe)
    groups: dict[float, list[nn.Parameter]] = {1.0: []}  # the first group, of which the head always is
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = next((factor for part, factor in factors.items() if part in name), 1.0)
            groups.setdefault(factor, []).append(parameter)
    return [{"params": parameters, "factor": factor} for factor, parameters in groups.items()]


def count_parameters(model: "nn.Module", family: Family) -> dict[str, int]:
    """Numbers in each part: backbone, adapter, head; their total; how many are trained, how many are saved.

    Random matrices that an adapter scales are part of the adapter, and not trained.
    """
    counts = {"backbone": 0, "adapter": 0, "head": 0, "trainable": 0}
    prefix = _adapter_prefix(model)
    buffers = ((name, b) for name, b in model.named_buffers() if b.is_floating_point() and prefix in name)
    for name, tensor in (*model.named_parameters(), *buffers):
        if "original_module" in name:  # PEFT's copy of a module as it was before
            continue
        in_head = any(f"{head}." in name for head in family.heads)
        part = "head" if in_head else "adapter" if prefix in name else "backbone"
        counts[part] += tensor.numel()
        counts["trainable"] += tensor.numel() if tensor.requires_grad else 0
    total = counts["backbone"] + counts["adapter"] + counts["head"]
    return {"total": total, **counts, "stored": _stored(model) or total}


def _adapter_prefix(model: Any) -> str:
    """What the names of an adapter's tensors have in common, such as `.lora_`."""
    return f".{model.base_model.prefix.partition('_')[0]}_" if hasattr(model, "peft_config") else ".lora_"


def _stored(model: Any) -> int:
    """How many numbers PEFT writes; 0 for a model without PEFT."""
    if not hasattr(model, "peft_config"):
        return 0
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(model, storable(model), save_embedding_layers=False)
    return sum(tensor.numel() for tensor in tensors.values())


def storable(model: "nn.Module") -> "dict[str, Tensor]":
    """The state that PEFT may choose from when it saves a model.

    It leaves out RandLoRA's random bases but once, which PEFT would write again for every layer, and what the
    head was before. PiSSA's factors have those of its start, A0 and B0, appended: B A - B0 A0.
    """
    import torch

    repeated = (".randlora_A.", ".randlora_B.")
    state = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if "original_module" not in name
        and (name.startswith("base_model.randlora_") or not any(part in name for part in repeated))
    }
    first = {name: buffer for name, buffer in model.named_buffers() if ".first_lora_" in name}
    for name, buffer in first.items():
        layer, _, factor = name.rpartition(".first_")
        key = f"{layer}.{factor}.default.weight"
        is_a = factor == "lora_A"
        state[key] = torch.cat([state[key], buffer if is_a else -buffer], 0 if is_a else 1)
    return state
