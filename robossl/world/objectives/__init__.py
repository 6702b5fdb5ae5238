"""What the world model is asked to predict, one small function each."""
