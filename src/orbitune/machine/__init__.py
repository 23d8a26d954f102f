"""The machine of a run: its environment, its energy counters, and the cluster that it is part of."""
