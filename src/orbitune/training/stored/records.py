"""Records of a run folder: hashes of the inputs, and a divergence."""

from typing import Any, ClassVar

from orbitune.records import StoredRecord, rename_keys


class RunInputs(StoredRecord):
    """Hashes of what a recipe only names: the content of inputs.json.

    Attributes:
        tiles: of the decoded tiles and their labels.
        splits: of the tiles of each split.
        backbone_weights: of the pretrained weights.
        backbone_settings: of the configuration and preprocessing of the backbone; None in files of the first
            version, which had the weights alone.
    """

    FORMAT: ClassVar[int] = 2
    UNVERSIONED: ClassVar[int | None] = 1

    tiles: str
    splits: str
    backbone_weights: str
    backbone_settings: str | None = None

    @classmethod
    def upgrade(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Convert the names of version 0.1, which had spaces."""
        return rename_keys(values, {name.replace("_", " "): name for name in cls.hash_names()})

    @classmethod
    def hash_names(cls) -> list[str]:
        """Return the names of the hashes."""
        return [name for name in cls.model_fields if name != "format"]

    def differences(self, stored: "RunInputs") -> list[str]:
        """Return what has another hash than in a stored record, in words."""
        hashes = [(name, getattr(self, name), getattr(stored, name)) for name in self.hash_names()]
        return [name.replace("_", " ") for name, now, then in hashes if then is not None and now != then]


class Divergence(StoredRecord):
    """Where training diverged: the content of diverged.json."""

    UNVERSIONED: ClassVar[int | None] = 1

    error: str
