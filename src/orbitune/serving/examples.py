"""Example tiles that the page offers for a model."""

import threading
from dataclasses import dataclass, field

from PIL import Image

from orbitune.errors import OrbituneError
from orbitune.inference.bundle import Bundle
from orbitune.inference.example_tiles import EXAMPLES, NoExamplesError, choose_examples
from orbitune.serving.images import encode_png
from orbitune.serving.service import PredictionService
from orbitune.serving.uploads import decode_image
from orbitune.sources.decode import BadImageError
from orbitune.sources.image_folder import read_file

_NONE_IN_BUNDLE = (
    "This model carries no example tiles: `orbitune bundle --examples` adds a validation tile of each class."
)


@dataclass(frozen=True)
class ExampleTiles:
    """The example tiles of a model.

    Attributes:
        tiles: PNG by class.
        reason: one sentence that says why there are none; None where there are some.
    """

    tiles: dict[str, bytes] = field(default_factory=dict)
    reason: str | None = None


class ExampleFinder:
    """Finds the example tiles of served models, when they are first asked for.

    Args:
        service: the models.
    """

    def __init__(self, service: PredictionService) -> None:
        self._service = service
        self._found: dict[str, ExampleTiles] = {}
        self._lock = threading.Lock()  # data sets are opened once

    def find(self, name: str | None) -> ExampleTiles:
        """Return the examples of a model, else those of the first with the same classes that has some.

        Raises:
            UnknownModelError: the name is unknown.
        """
        own = self._service.get_model(name)
        others = self._service.models_with_same_classes(name)
        names = sorted(others, key=lambda other: others[other] is not own)  # the model itself first
        with self._lock:
            found = (self._look_up(each) for each in names)
            first = next(found)
            return first if first.tiles else next((each for each in found if each.tiles), first)

    def _look_up(self, name: str) -> ExampleTiles:
        if name not in self._found:
            self._found[name] = _examples_of(self._service.get_model(name).bundle)
        return self._found[name]


def _examples_of(bundle: Bundle | None) -> ExampleTiles:
    """Return the tiles that a bundle carries, or those of a run whose data set is still there."""
    if bundle is None:
        return ExampleTiles(reason="An ONNX file carries no example tiles.")
    if carried := _read_carried(bundle):
        return ExampleTiles(carried)
    if not (bundle.place / "result.json").is_file():
        return ExampleTiles(reason=_NONE_IN_BUNDLE)
    from orbitune.evaluation.run_result import RunResult
    from orbitune.training.setup import prepare_training

    try:
        setup = prepare_training(RunResult.load(bundle.place).data_recipe, progress=False)
        tiles = choose_examples(setup.tiles, setup.splits["validation"])
    except NoExamplesError as error:
        return ExampleTiles(reason=str(error))
    except OrbituneError:
        reason = "There are no example tiles: the data set of this run is no longer where it was in training."
        return ExampleTiles(reason=reason)
    return ExampleTiles({name: encode_png(Image.fromarray(tile)) for name, tile in tiles.items()})


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
