"""Commands that compare: `study`, `report`, `bench`."""
