"""Maps with several labels a cell: one band for each class."""
