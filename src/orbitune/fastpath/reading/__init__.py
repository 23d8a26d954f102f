"""Saved models, read by torch and safetensors alone."""
