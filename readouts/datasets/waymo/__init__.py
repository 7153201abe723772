"""Waymo Open Dataset: camera images and their boxes, from v1 (TFRecord) and v2 (Parquet)."""
