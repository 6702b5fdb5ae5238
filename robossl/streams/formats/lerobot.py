"""LeRobot v3 datasets: parquet for numbers, mp4 or PNG for images, JSON for metadata."""

from robossl.streams.formats.lerobot_reader import read
from robossl.streams.formats.lerobot_writer import write

__all__ = ["read", "write"]
