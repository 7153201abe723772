"""Readers of the official layouts of the readout data sets."""
