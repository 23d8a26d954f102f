"""How a study was done, in sentences: its design, searches and runs."""
