"""Compare fine-tuning methods on the same tiles: grid, execution, statistics and report."""
