"""Metrics of a world model on held-out data."""
