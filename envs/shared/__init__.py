"""Code that several robots share: planar and legged robots, standing, rotations and reward shaping."""
