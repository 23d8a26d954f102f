"""Figures of a report; each panel is a small SVG that the page arranges.

The same results give the same bytes.
"""
