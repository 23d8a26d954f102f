"""Files of a map: GeoTIFFs, polygons, preview and styles."""
