"""Measurements: `python -m benchmarks.multiview`."""
