"""The readout tasks, one file each, and their base classes."""
