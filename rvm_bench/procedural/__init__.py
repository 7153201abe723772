"""Procedural scenes with exact ground truth: shapes, textures, motion, cameras, rendering."""
