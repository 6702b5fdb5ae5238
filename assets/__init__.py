"""MuJoCo models (MJCF) of the robots, one folder per robot; README.md gives the source of each value."""
