"""ScanNet v2: `.sens` files, extracted frames, and the official split."""
