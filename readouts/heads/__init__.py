"""The readout heads: attention over space and time, points and boxes, and several replicas side by side."""
