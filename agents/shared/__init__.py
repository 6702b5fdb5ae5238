"""Code that several agents and policies share: action range, colored noise, planning costs."""
