"""Checks of third-party code: `robossl check` for environments, `robossl check-agent` for agents."""
