"""Statistics of comparisons: intervals, paired tests and verdicts over seeds and images."""
