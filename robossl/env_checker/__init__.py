"""What is looked at, one file each: an environment's promises, and what this machine can draw."""
