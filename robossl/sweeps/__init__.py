"""Sweeps: a grid of cells, each one command with its own settings and folder."""
