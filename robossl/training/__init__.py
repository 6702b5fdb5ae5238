"""Training: configuration, the phases of a run, the single steps, checkpoints and output folders."""
