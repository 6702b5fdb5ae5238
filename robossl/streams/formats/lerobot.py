"""LeRobot v3: parquet for numbers, mp4 or PNG for pictures, JSON for what they are."""

from robossl.streams.formats.lerobot_reader import read
from robossl.streams.formats.lerobot_writer import write

__all__ = ["read", "write"]
