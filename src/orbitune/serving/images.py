"""Images for the app: previews and attribution overlays."""

import io

import numpy as np
from PIL import Image

_DISPLAY_SIZE = 384  # pixels
_PREVIEW_SIDE = 640  # pixels, at most
# Red, green, blue and opacity of a layer at evenly spaced attributions, the lowest first, in the colours of
# matplotlib's inferno.
_RAMP = [(22, 11, 57, 120), (120, 28, 109, 150), (229, 92, 48, 180), (252, 240, 150, 215)]


def encode_preview(pixels: np.ndarray) -> bytes:
    """Return pixels, uint8 (H, W, 3), as PNG of at most 640 pixels a side."""
    image = Image.fromarray(pixels)
    image.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE), Image.Resampling.BOX)
    return encode_png(image)


def encode_png(image: Image.Image) -> bytes:
    """Return an image as PNG."""
    content = io.BytesIO()
    image.save(content, "png", compress_level=3)
    return content.getvalue()


def attribution_layer(attribution: np.ndarray) -> Image.Image:
    """Return a layer over a tile, from violet (low) over orange to pale yellow (high).

    Brightness rises with the attribution, so that it is read without colour vision too; low values are more
    transparent.

    Args:
        attribution: float32 (h, w), 0..1.

    Returns:
        RGBA (S, S).
    """
    size = (_DISPLAY_SIZE, _DISPLAY_SIZE)
    smooth = Image.fromarray((255 * attribution).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    values, positions = np.arange(256), np.linspace(0, 255, len(_RAMP))
    table = np.stack([np.interp(values, positions, channel) for channel in np.transpose(_RAMP)], axis=1)
    return Image.fromarray(table.astype(np.uint8)[np.asarray(smooth)])


def overlay_attribution(tile: np.ndarray, attribution: np.ndarray) -> np.ndarray:
    """Return a tile, uint8 (H, W, 3), under its attribution layer, uint8 (S, S, 3)."""
    layer = attribution_layer(attribution)
    shown = Image.fromarray(tile).resize(layer.size, Image.Resampling.NEAREST).convert("RGBA")
    return np.asarray(Image.alpha_composite(shown, layer).convert("RGB"))


def stretch_contrast(pixels: np.ndarray) -> np.ndarray:
    """Stretch pixels from their 1st and 99th percentile to 0..230, uint8."""
    low, high = np.percentile(pixels, (1, 99))
    return np.clip((pixels - low) * (230 / max(high - low, 1.0)), 0, 255).astype(np.uint8)
