"""Metric sinks: where the scalars of a run are written."""
