"""Effects of sensors and the atmosphere: augmentation, corruptions, a standard atmosphere."""
