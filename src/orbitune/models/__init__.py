"""Backbones, fine-tuning methods, and saved models."""
