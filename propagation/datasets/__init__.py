"""Readers of the official layouts of DAVIS-2017, JHMDB and VIP."""
