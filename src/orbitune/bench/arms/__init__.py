"""Measured programs; each module imports at its top everything that it needs.

`python -m orbitune.bench.arms SPEC` runs one of them, see `orbitune.bench.arms.__main__`.
"""
