"""LeRobot v3: parquet for numbers, mp4 or PNG for pictures, JSON for what they are."""

from robossl.streams.exchange.lerobot_read import read
from robossl.streams.exchange.lerobot_write import write

__all__ = ["read", "write"]
