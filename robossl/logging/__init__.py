"""Progress and metrics of a run."""
