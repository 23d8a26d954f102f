"""Figures of a report. Each panel is a small SVG, so that a page can lay panels side by side or stack them.

The same results give the same bytes.
"""
