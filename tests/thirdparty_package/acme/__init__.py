"""A third-party package that joins every registry group of robossl through its entry points."""
