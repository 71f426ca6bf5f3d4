"""Measurements: ``python -m benchmarks`` lists them. Every number in the docs comes from here."""
