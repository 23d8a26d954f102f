"""Tile sets: decoding into a memory-mapped store, splits, preprocessing and augmentation."""
