"""What sensors and the air do to tiles: augmentation, corruptions, a standard atmosphere."""
