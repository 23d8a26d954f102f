"""Example tiles that the page offers for a model."""

import asyncio
import logging
from dataclasses import dataclass, field, replace

import anyio
from PIL import Image

from orbitune.errors import DataError, first_line
from orbitune.inference.bundle import Bundle
from orbitune.inference.example_tiles import EXAMPLES, ONLY_RGB, NoExamplesError, choose_examples
from orbitune.serving.engines.engine import Engine
from orbitune.serving.images import encode_png
from orbitune.serving.service import PredictionService
from orbitune.serving.uploads import decode_image
from orbitune.sources.decode import BadImageError
from orbitune.sources.image_folder import read_file

_LOGGER = logging.getLogger("orbitune")
_NONE_IN_BUNDLE = (
    "This model carries no example tiles: `orbitune bundle --examples` adds a validation tile of each class."
)
_OTHER_BANDS = "Example tiles have the model's own bands, and this server reads those of `--bands`."
_GONE = "There are no example tiles: the data set of this run is no longer where it was in training."
_FAILED = "There are no example tiles: the data set of this run could not be opened."


@dataclass(frozen=True)
class ExampleTiles:
    """The example tiles of a model.

    Attributes:
        tiles: PNG by class.
        reason: one sentence that says why there are none; None where there are some.
        passing: whether there may be some the next time.
        model: name of the model whose tiles they are.
    """

    tiles: dict[str, bytes] = field(default_factory=dict)
    reason: str | None = None
    passing: bool = False
    model: str | None = None


class ExampleFinder:
    """Finds the example tiles of served models, when they are first asked for.

    All requests for a model wait for one look at its data set, and data sets are opened one after another:
    meanwhile the threads of other requests are free.

    Args:
        service: the models.
    """

    def __init__(self, service: PredictionService) -> None:
        self._service = service
        self._asked: dict[str, asyncio.Task[ExampleTiles]] = {}
        self._one_at_a_time = anyio.CapacityLimiter(1)

    async def find(self, name: str | None) -> ExampleTiles:
        """Return the examples of a model, else those of the first with the same classes that has some.

        Raises:
            UnknownModelError: the name is unknown.
        """
        own = self._service.get_model(name)
        if reason := _why_unreadable(own.engine):
            return ExampleTiles(reason=reason)
        others = self._service.models_with_same_classes(name)
        first, *rest = sorted(others, key=lambda other: others[other] is not own)
        found = await self._look_up(first)
        for each in rest:
            if found.tiles:
                break
            borrowed = await self._look_up(each)
            found = borrowed if borrowed.tiles else found
        return found

    async def _look_up(self, name: str) -> ExampleTiles:
        asked = self._asked.get(name)
        if asked is None or (asked.done() and asked.result().passing):
            asked = self._asked[name] = asyncio.create_task(self._open(name))
        return replace(await asyncio.shield(asked), model=name)  # one that no longer waits stops no other

    async def _open(self, name: str) -> ExampleTiles:
        bundle = self._service.get_model(name).bundle
        return await anyio.to_thread.run_sync(
            _examples_of, bundle, limiter=self._one_at_a_time, abandon_on_cancel=True
        )


def _why_unreadable(engine: Engine) -> str | None:
    """Return why a model cannot read 8-bit RGB tiles in its own bands; None if it can."""
    if not engine.spec.is_rgb:
        return ONLY_RGB
    return _OTHER_BANDS if engine.bands else None


def _examples_of(bundle: Bundle | None) -> ExampleTiles:
    """Return the tiles that a bundle carries, or those of a run whose data set is still there."""
    if bundle is None:
        return ExampleTiles(reason="An ONNX file carries no example tiles.")
    from orbitune.data.recipe_tiles import load_recipe_tiles, split_recipe_tiles
    from orbitune.evaluation.run_result import RunResult

    try:
        if carried := _read_carried(bundle):
            return ExampleTiles(carried)
        if not (bundle.place / "result.json").is_file():
            return ExampleTiles(reason=_NONE_IN_BUNDLE)
        recipe = RunResult.load(bundle.place).data_recipe.anchored()
        tiles = load_recipe_tiles(recipe, progress=False)
        chosen = choose_examples(tiles, split_recipe_tiles(recipe, tiles)[0]["validation"])
        return ExampleTiles({name: encode_png(Image.fromarray(tile)) for name, tile in chosen.items()})
    except NoExamplesError as error:
        return ExampleTiles(reason=str(error))
    except Exception as error:
        _LOGGER.warning("No example tiles of %s: %s", bundle.place, first_line(error))
        return ExampleTiles(reason=_GONE if isinstance(error, DataError) else _FAILED, passing=True)


def _read_carried(bundle: Bundle) -> dict[str, bytes]:
    """Return the examples in a bundle's folder, decoded as uploads are: a bundle may be anybody's."""
    found: dict[str, bytes] = {}
    for number, name in enumerate(bundle.classes):
        try:
            pixels = decode_image(read_file(bundle.folder / EXAMPLES / f"{number}.png"))
            found[name] = encode_png(Image.fromarray(pixels))
        except (BadImageError, TypeError):  # none of this class, or of 16 bits
            continue
    return found
