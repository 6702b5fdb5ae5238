"""The record of interaction: what was lived through, in order, on disk; sampled while it grows."""

from robossl.streams.chunks import DamagedStream
from robossl.streams.describe import describe
from robossl.streams.episodes import Episode
from robossl.streams.priority import Prioritized
from robossl.streams.recorder import Recorder
from robossl.streams.sampling import Recent, Sampler, Uniform
from robossl.streams.schema import Field, Schema
from robossl.streams.splits import SPLITS
from robossl.streams.stream import Stream
from robossl.streams.validate import validate
from robossl.streams.window import Window

__all__ = [
    "SPLITS",
    "DamagedStream",
    "Episode",
    "Field",
    "Prioritized",
    "Recent",
    "Recorder",
    "Sampler",
    "Schema",
    "Stream",
    "Uniform",
    "Window",
    "describe",
    "validate",
]
