"""Fitting readouts on frozen features: sampling, feature cache, optimiser, checkpoints."""
