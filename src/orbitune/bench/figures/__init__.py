"""Single figures of a run; each module measures one in a process of its own.

`python -m orbitune.bench.figures SPEC` runs one of them, see `orbitune.bench.figures.__main__`.
"""
