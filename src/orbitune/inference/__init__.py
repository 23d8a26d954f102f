"""Bundles and prediction: what a trained model needs after training."""
