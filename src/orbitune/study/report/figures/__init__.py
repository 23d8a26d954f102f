"""The figures of a report. Each is its own small SVG, so that a page can lay them side by side on a screen
and stack them on a phone without shrinking the type. The same results give the same bytes."""
