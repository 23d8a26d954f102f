"""Tile sets: decoded tiles, splits, preprocessing and augmentation."""
