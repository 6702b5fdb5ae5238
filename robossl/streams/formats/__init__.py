"""Exchange with other people's formats: a stream becomes a Minari or LeRobot data set, and comes back."""

from robossl.streams.formats.convert import FORMATS, export_stream, import_stream

__all__ = ["FORMATS", "export_stream", "import_stream"]
