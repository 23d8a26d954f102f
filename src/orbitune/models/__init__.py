"""Backbones and the methods that fine-tune them."""
