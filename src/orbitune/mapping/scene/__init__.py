"""A scene on disk: its bands, georeference and radiometry, read in windows."""
