"""Public alias of `readouts.heads.attention.AttentionReadout`."""

from readouts.heads.attention import AttentionReadout

__all__ = ["AttentionReadout"]
