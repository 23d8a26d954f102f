"""Effects of sensors and air: augmentation, corruptions, a standard atmosphere."""
