"""Code that several agents and policies use: action range, colored noise, planning costs."""
