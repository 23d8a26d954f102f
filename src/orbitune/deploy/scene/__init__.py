"""Land-cover maps of whole scenes, in memory that is bounded by a setting and not by the scene."""
