"""Evaluating a model on a task, and what a run leaves on disk."""
