"""Attentive readouts on frozen features: Something-Something v2, Kinetics-700, ScanNet, Perception Test, Waymo.

`heads` has the networks, `losses` and `metrics` their training losses and scores, `fitting` the training on frozen
features, `datasets` the readers of the official layouts, and `tasks` one file per task.
"""
