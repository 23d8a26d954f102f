"""From files to tiles: sources are decoded once into a memory-mapped TileSet, which is then split."""
