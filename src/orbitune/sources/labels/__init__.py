"""Labels of tiles: one or several a tile, from columns and tables."""
