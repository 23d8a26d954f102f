"""The programs that are measured; each module imports at its head all that it needs.

`python -m orbitune.bench.arms ORDER` runs one of them, see `orbitune.bench.arms.__main__`.
"""
