"""Attentive readouts on frozen features: Something-Something v2, Kinetics-700, ScanNet, Perception Test, Waymo.

None of these tasks is in this version; the README's table says what is.
"""
