"""`python -m orbitune` is the command line."""

from orbitune.cli import main

main()
