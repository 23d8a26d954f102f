"""The fast path: the same classifier, computed in fewer and larger steps. Optional."""
