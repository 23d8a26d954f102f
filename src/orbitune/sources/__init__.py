"""Readers of data sets: folders, zip archives, tables, Parquet and the hub."""
