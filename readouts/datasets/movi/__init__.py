"""MOVi-E: shards, records, and point tracks generated from their ground truth."""
