"""MOVi-E: shards, records, and the point tracks that follow from their ground truth."""
