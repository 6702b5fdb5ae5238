"""Bodies and tasks, one file a body."""
