"""Readers of DAVIS-2017, JHMDB and VIP in their official layouts. They decode every file before a run starts."""
