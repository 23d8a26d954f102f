"""Areas of a map: estimates, reference samples, change, and zones."""
