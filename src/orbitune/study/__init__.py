"""Comparison of fine-tuning methods: grid, execution, statistics and report."""
