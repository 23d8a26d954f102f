"""Where tiles come from: image folders, zips, lists, Parquet data sets and the hub."""
