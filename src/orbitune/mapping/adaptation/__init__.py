"""Adaptation of a bundle to a scene, by a few labelled points."""
