"""What a trained model is for: bundles, prediction, many adapters on one backbone, exports."""
