"""Report of a single run: report.html in its folder.

The page is written from what the finished run left in its folder, and equal folders give equal bytes. The
pictures of misclassified tiles are read from the data, where it still is.
"""
