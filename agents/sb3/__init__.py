"""Stable-Baselines3 algorithms as agents."""
