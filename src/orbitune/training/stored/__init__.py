"""What a run folder keeps of its recipe and inputs, and how a request differs from it."""
