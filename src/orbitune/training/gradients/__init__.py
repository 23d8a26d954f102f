"""Gradients of a training step."""
