"""`python -m orbitune` is the command line."""

from orbitune.cli.main import main

main()
