"""A worker process: `python -m robossl.cells.cell_worker`, which reads jobs from stdin as lines of JSON.

The first line has the function that runs the jobs, and its settings. The process ends when stdin ends, in the middle
of a job as well.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from typing import Any


def main() -> None:
    """Run jobs until stdin ends."""
    lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    # A forked process, such as one of a sub-environment, closes `sys.stdin` first: it waits forever if a thread reads
    # there while it is forked. A file without buffer has no lock.
    jobs = os.fdopen(os.dup(0), "rb", buffering=0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)

    def read() -> None:
        for line in jobs:
            lines.put(json.loads(line))
        os._exit(1)  # the parent is gone

    threading.Thread(target=read, daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what envs print is no answer
    first = lines.get()

    from robossl.cells.work import Work, answer_of_worker

    run = Work(first["target"], first["settings"]).make()
    while True:
        answer = answer_of_worker(run, lines.get())
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
