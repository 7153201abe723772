"""One file per family of backbones: its sizes, cards, checkpoint formats and licence."""
