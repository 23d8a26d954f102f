"""Accuracy assessment of a model on labelled data that it has not seen."""
