"""The fast path: the same classifier computed in fewer, larger steps.

Optional; see `dispatch`.
"""
