"""Processes that run modules of the package: new interpreters, or forks of one that has the libraries."""
