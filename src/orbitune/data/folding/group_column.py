"""Groups of tiles from a column of the data set, such as the scene that each was cut from."""

from orbitune.data.tileset import TileSet


def groups_in_column(tiles: TileSet, column: str) -> list[str]:
    """Return the group of each tile that a column of the data set names."""
    raise NotImplementedError
