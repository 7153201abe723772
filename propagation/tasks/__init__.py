"""The label propagation tasks, one file each: protocol, measure and score of DAVIS-2017, its stability, JHMDB, VIP."""
