"""Statistics over videos."""
