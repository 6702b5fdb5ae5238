"""MJCF models, one folder a body."""
