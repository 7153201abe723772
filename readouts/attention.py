"""The attentive readout under its public name; it lives in `readouts.heads.attention`."""

from readouts.heads.attention import AttentionReadout

__all__ = ["AttentionReadout"]
