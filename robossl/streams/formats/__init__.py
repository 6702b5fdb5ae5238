"""Conversion of streams to Minari and LeRobot datasets, and back."""

from robossl.streams.formats.convert import FORMATS, export_stream, import_stream

__all__ = ["FORMATS", "export_stream", "import_stream"]
