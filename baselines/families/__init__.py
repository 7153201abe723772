"""One module per family of backbones: sizes, cards, checkpoint layouts and licence."""
