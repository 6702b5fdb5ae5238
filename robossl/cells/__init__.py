"""Engines that run jobs: processes of this machine, or tasks of a Ray cluster."""
