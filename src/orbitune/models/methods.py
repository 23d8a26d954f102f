"""Fine-tuning methods: their table, and functions of models they built.

To add a method, add one entry to METHODS; the command line, the study and the tests go through this table.
`orbitune.models.peft_methods` has the functions that apply them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from orbitune.errors import ModelError
from orbitune.models import peft_methods
from orbitune.models.adalora import RankSchedule
from orbitune.models.families.family import Family
from orbitune.recipe import Recipe
from orbitune.suggestions import unknown

if TYPE_CHECKING:
    from torch import Tensor, nn

    from orbitune.models.metadata import ParameterCounts


class Apply(Protocol):
    """The function of a method that prepares a model for training."""

    def __call__(self, model: "nn.Module", family: Family, *, recipe: Recipe) -> "nn.Module":
        """Set which parameters of a model are trained.

        Args:
            model: the classifier of transformers, changed in place.
            family: names of its modules.
            recipe: settings of the method.

        Returns:
            The model to train: `model`, or PEFT's wrapper around it.

        Raises:
            ModelError: the method does not apply to this model with these settings.
        """


@dataclass(frozen=True)
class Method:
    """A fine-tuning method.

    Attributes:
        name: on the command line and in recipes.
        title: name in a sentence.
        summary: what is trained.
        apply: prepares a model for training, see `Apply`.
        learning_rate: peak learning rate where the recipe names none.
        paper: source of the method.
        folder: where a run saves the result: `adapter` (a PEFT folder, which can be merged into the backbone)
            or `model` (all weights).
        peft_type: PEFT's name of the adapter, of those that may be opened; None for one without PEFT.
        factors: from a recipe, factors on the learning rate of some tensors, by a part of their names.
        schedule: from a model and the number of steps, what acts beside the optimizer; None for nothing.
    """

    name: str
    title: str
    summary: str
    apply: Apply
    learning_rate: float
    paper: str
    folder: str = "adapter"
    peft_type: str | None = "LORA"
    factors: Callable[[Recipe], Mapping[str, float]] = lambda recipe: {}
    schedule: Callable[["nn.Module", int], RankSchedule] | None = None


# The learning rates, but those of `full`, `linear` and `loraall`, come from a search: ViT-Tiny/16 on 2,000
# tiles of EuroSAT RGB, 64 pixels, 2 epochs, batch 64, one seed; rates a factor of 3 apart until both
# neighbours of the best were worse. Among those within one point of the best validation accuracy (1,000
# tiles), the lowest loss was chosen.
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
            peft_type=None,
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
            "loraall",
            "LoRA of all layers",
            "low-rank updates of every linear layer and the head",
            peft_methods.loraall,
            3e-3,
            "LoRA of all linear layers (Dettmers et al. 2023, arXiv:2305.14314)",
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
            peft_type="ADALORA",
            schedule=RankSchedule,
        ),
        Method(
            "vera",
            "VeRA",
            "vectors that scale random matrices shared by all layers, and the head",
            peft_methods.vera,
            3e-2,
            "vector-based random matrix adaptation (Kopiczko et al. 2023, arXiv:2310.11454)",
            peft_type="VERA",
        ),
        Method(
            "randlora",
            "RandLoRA",
            "scales of random bases of full rank shared by all layers, and the head",
            peft_methods.randlora,
            2e-3,
            "RandLoRA (Albert et al. 2025, arXiv:2502.00987)",
            peft_type="RANDLORA",
        ),
        Method(
            "fourierft",
            "FourierFT",
            "a few Fourier coefficients of the updates, and the head",
            peft_methods.fourierft,
            7e-4,
            "Fourier transform fine-tuning (Gao et al. 2024, arXiv:2405.03003)",
            peft_type="FOURIERFT",
            factors=lambda recipe: {".fourierft_spectrum.": 100.0},
        ),
        Method(
            "oft",
            "OFT",
            "rotations of blocks of each layer's inputs, and the head",
            peft_methods.oft,
            2e-3,
            "orthogonal fine-tuning (Qiu et al. 2023, arXiv:2306.07280; 2025, arXiv:2506.19847)",
            peft_type="OFT",
        ),
        Method(
            "ia3",
            "(IA)³",
            "scales of keys, values and the MLP's hidden units, and the head",
            peft_methods.ia3,
            3e-2,
            "(IA)³ (Liu et al. 2022, arXiv:2205.05638)",
            peft_type="IA3",
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


# PEFT's types of the adapters that may be opened. Others prompt a language model or load further adapters.
PEFT_TYPES = tuple(sorted({method.peft_type for method in METHODS.values() if method.peft_type}))


def find_method(name: str) -> Method:
    """Return the method of a name.

    Raises:
        ModelError: there is none; the message lists them.
    """
    if name not in METHODS:
        raise ModelError(unknown("method", name, known=METHODS))
    return METHODS[name]


def parameter_groups(model: "nn.Module", recipe: Recipe) -> list[dict[str, Any]]:
    """Return the trainable tensors as parameter groups of an optimizer.

    Each group has an entry `factor`, by which its learning rate is multiplied. The first group has factor 1.

    Args:
        model: model that a method built.
        recipe: its recipe.

    Returns:
        Groups for `torch.optim.AdamW`.
    """
    factors = find_method(recipe.method).factors(recipe)
    groups: dict[float, list[nn.Parameter]] = {1.0: []}  # the first group, of which the head always is
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = next((factor for part, factor in factors.items() if part in name), 1.0)
            groups.setdefault(factor, []).append(parameter)
    return [{"params": parameters, "factor": factor} for factor, parameters in groups.items()]


def count_parameters(model: "nn.Module", family: Family) -> "ParameterCounts":
    """Count the parameters of a model by part.

    Args:
        model: model that a method built.
        family: its backbone family.
    """
    from orbitune.models.metadata import ParameterCounts

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
    return ParameterCounts(total=total, **counts, stored=_stored(model) or total)


def _adapter_prefix(model: Any) -> str:
    """Return the common part of the names of an adapter's tensors, such as `.lora_`."""
    return f".{model.base_model.prefix.partition('_')[0]}_" if hasattr(model, "peft_config") else ".lora_"


def _stored(model: Any) -> int:
    """Return how many numbers PEFT writes; 0 for a model without PEFT."""
    if not hasattr(model, "peft_config"):
        return 0
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(model, state_to_save(model), save_embedding_layers=False)
    return sum(tensor.numel() for tensor in tensors.values())


def state_to_save(model: "nn.Module") -> "dict[str, Tensor]":
    """Return the state dict that PEFT selects from when it saves a model.

    RandLoRA's random bases are in it once, not for every layer, and the original head is left out. PiSSA's
    initial factors A0 and B0 are appended, so that the update is B A - B0 A0.
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
