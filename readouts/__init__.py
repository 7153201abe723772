"""Attentive readouts on frozen features: Something-Something v2, Kinetics-700, ScanNet, Perception Test, Waymo.

`heads` are the networks, `losses` and `metrics` what they are fitted by and scored by, `fitting` fits them on frozen
features, `datasets` reads the official layouts, and `tasks` has one file per task.
"""
