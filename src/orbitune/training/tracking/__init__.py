"""Experiment trackers, as callbacks of a run."""
