"""Scenes whose bands lie in files of their own: band files, SAFE products, STAC items."""
