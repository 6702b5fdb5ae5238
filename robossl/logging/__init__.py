"""Progress reporters for people, and the metric logger with its sinks."""
