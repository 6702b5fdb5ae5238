"""Live pages on this machine: `robossl watch RUN` follows a run, `robossl stream view STREAM` shows episodes."""
