"""Decoding libraries: what they print, and what files may have them do."""
