"""Videos of agents and of imagined rollouts."""
