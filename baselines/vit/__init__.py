"""One configurable ViT, the names of its tensors in official checkpoints, and how these are read."""
