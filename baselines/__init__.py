"""Backbones to compare with: one configurable ViT, and one file per family that says what tells it from the others."""
