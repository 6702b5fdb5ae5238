"""Evaluation of world models and agents: held-out metrics, goal reaching, control, and the report."""
