"""Backbones to compare with: one configurable ViT with a module per family, and models of Hugging Face and timm."""
