"""Simulation engine of the MuJoCo envs: tasks, batched simulation, Gymnasium interfaces, rendering."""
