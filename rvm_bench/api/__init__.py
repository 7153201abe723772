"""The contracts for whoever writes a model or a task."""
