"""The bodies as MJCF, one folder a body; README.md tells where each figure comes from."""
