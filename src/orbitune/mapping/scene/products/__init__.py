"""Scenes of one file per band: band files, SAFE, Landsat products, STAC items."""
