"""One configurable ViT, the naming of its tensors in official checkpoints, and how those are read."""
