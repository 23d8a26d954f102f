"""Effects of sensors and the atmosphere: augmentation and corruptions."""
