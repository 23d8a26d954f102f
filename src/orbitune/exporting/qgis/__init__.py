"""Export to plugins of QGIS."""
