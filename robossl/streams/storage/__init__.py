"""Storage of a stream: chunk files on disk, buffers in memory, the row index and the writer lock."""
