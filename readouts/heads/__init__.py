"""The readout networks: attention (`attention`), points and boxes (`tracking`); replicas train side by side."""

from readouts.heads.attention import AttentionReadout
from readouts.heads.tracking import BoxHead, PointHead

__all__ = ["AttentionReadout", "BoxHead", "PointHead"]
