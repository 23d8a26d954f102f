"""Evaluation of classifiers: scores, tests, calibration, OOD, attribution."""
