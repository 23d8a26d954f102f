"""Labels as a table of tiles by classes, whether a tile has one label or several."""
