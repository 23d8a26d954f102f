"""What is settled before the first step of a run."""
