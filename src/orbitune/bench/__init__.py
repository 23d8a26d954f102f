"""Benchmarks: ways to train or predict ("arms") side by side, each in its own process, on the same tiles."""
