"""Readers of data sets: image folders, zip archives, tables, Parquet files and the hub."""
