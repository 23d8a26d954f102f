"""Views of the scores of one model: sentences, tables and figures, for one label a tile and for several."""
