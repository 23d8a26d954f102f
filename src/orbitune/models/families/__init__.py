"""Backbone families: architectures of transformers, and the names of their parts."""
