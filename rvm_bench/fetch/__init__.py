"""Where files come from: the cache folder, downloads, released weights, public data sets."""
