"""Bodies and their tasks, one file a body; the engine that runs them; the door to other people's envs."""

from .registration import register

__all__ = ["register"]
