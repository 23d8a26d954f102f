"""Tiles of one split that show what tiles of another do."""
