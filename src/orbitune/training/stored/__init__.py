"""What a run folder keeps of its recipe, and how a request differs from it."""
