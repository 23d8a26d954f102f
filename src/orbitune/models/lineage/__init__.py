"""Records of what a saved model comes from, and of its scores."""
