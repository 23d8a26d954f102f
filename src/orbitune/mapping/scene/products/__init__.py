"""Scenes whose bands lie in files of their own: band files, SAFE and Landsat products, STAC items."""
