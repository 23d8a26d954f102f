"""Benchmarks: arms side by side, each in a process of its own, in turn, on the same tiles."""
