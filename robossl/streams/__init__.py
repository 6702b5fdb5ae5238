"""Streams: the record of interaction on disk, appended by recorders and sampled while it grows."""

from robossl.streams.episodes import Episode
from robossl.streams.info import describe_stream
from robossl.streams.lane_view import LaneView
from robossl.streams.priority_sampling import Prioritized
from robossl.streams.recorder import Recorder
from robossl.streams.sampling import Recent, Sampler, Uniform
from robossl.streams.schema import Field, Schema
from robossl.streams.shards import Shards
from robossl.streams.splits import SPLITS
from robossl.streams.storage.chunk_file import CorruptedStreamError
from robossl.streams.stream import Stream
from robossl.streams.validation import validate_stream
from robossl.streams.window import Window

__all__ = [
    "SPLITS",
    "CorruptedStreamError",
    "Episode",
    "Field",
    "LaneView",
    "Prioritized",
    "Recent",
    "Recorder",
    "Sampler",
    "Schema",
    "Shards",
    "Stream",
    "Uniform",
    "Window",
    "describe_stream",
    "validate_stream",
]
