"""Evaluation of classifiers: scores, intervals, paired tests, calibration, OOD detection, attribution."""
