"""Land-cover maps of whole scenes, in memory bounded by a setting."""
