"""One run: from a recipe to a measured, reloadable result."""
