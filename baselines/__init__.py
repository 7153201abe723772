"""Backbones to compare with. `models` lists their cards without importing anything heavy; each family is one file."""
