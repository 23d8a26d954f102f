"""Benchmarks: compare ways to train or predict ("arms") on the same tiles.

Each arm runs in a process of its own.
"""
