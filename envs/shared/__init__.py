"""Code that several robots share: planar and legged robots, floor contact, rotations, reward shaping."""
