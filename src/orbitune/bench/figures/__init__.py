"""Single figures of what a run is worth in use; each module measures one, in a process of its own.

`python -m orbitune.bench.figures ORDER` runs one of them, see `orbitune.bench.figures.__main__`.
"""
