"""The label propagation tasks, one file each: DAVIS-2017 and its long-term stability, JHMDB, VIP."""
