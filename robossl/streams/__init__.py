"""The record of interaction."""
