"""File formats that know nothing of benchmarks."""
