import pytest
import torch
from samples import FAMILIES, backbone_folder

from orbitune.exporting.smoothquant import scale_channels
from orbitune.models.backbones import find_backbone, load_weights

PIXELS = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def inputs_of(model, run):
    """Largest input of each channel of the linear layers in the first block."""
    largest, hooks = {}, []
    body = getattr(model, model.base_model_prefix)
    layer = (body.encoder.layer if hasattr(body, "encoder") else body.layers)[0]
    for name, module in layer.named_modules():
        if isinstance(module, torch.nn.Linear):
            hooks.append(
                module.register_forward_pre_hook(
                    lambda _, inputs, name=name: largest.update(
                        {name: inputs[0].abs().flatten(0, -2).amax(0)}
                    )
                )
            )
    run()
    for hook in hooks:
        hook.remove()
    return largest


@pytest.mark.parametrize("model_type", FAMILIES)
def test_channels_are_equalised_and_the_function_stays_the_same(tmp_path, model_type):
    backbone = find_backbone(str(backbone_folder(tmp_path / "backbone", model_type)))
    model = load_weights(backbone, ("a", "b", "c"), seed=0).eval().requires_grad_(False)
    for name, module in model.named_modules():  # a few large channels, as trained transformers have
        if name.endswith(backbone.family.norms):
            module.weight[:3] *= 50

    def run():
        with torch.inference_mode():
            return model(pixel_values=PIXELS, **backbone.family.forward).logits

    before, expected = inputs_of(model, run), run()
    scale_channels(model, backbone.family, run=run)
    after = inputs_of(model, run)
    assert torch.allclose(run(), expected, atol=1e-4, rtol=1e-4)
    for name in before:
        if name.endswith(("q_proj", "fc1")):
            spread = [float(each[name].max() / each[name].median()) for each in (before, after)]
            assert spread[1] < spread[0] / 2, name
