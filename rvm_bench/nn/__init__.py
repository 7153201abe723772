"""Layers and schedules that several models share."""
