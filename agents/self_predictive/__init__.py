"""Self-predictive agent: actor-critic on an embedding that is trained to predict its own future."""
