"""Shared foundations: interfaces, errors, files, seeds, spaces, statistics. Imports no other robossl package."""
