"""Bodies and their tasks, one file a body; the engine that runs them; the door to other people's envs."""

from .engine.registration import is_native, register, register_tasks

__all__ = ["is_native", "register", "register_tasks"]
