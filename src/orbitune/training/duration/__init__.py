"""How long a run trains: its defaults, early stopping, and the extension of a finished run."""
