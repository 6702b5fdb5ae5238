"""Minds, one file each."""
