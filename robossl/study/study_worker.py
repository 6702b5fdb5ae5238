"""A worker process of a study: `python -m robossl.study.study_worker`, which reads jobs from stdin as lines of JSON.

The first line has the folder of the study, the number of threads, and the packages that the user trusts. The process
ends when stdin ends, in the middle of a job as well.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from typing import Any


def main() -> None:
    """Run jobs until stdin ends."""
    lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            lines.put(json.loads(line))
        os._exit(1)  # the parent is gone

    threading.Thread(target=read, daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what envs print is no answer
    settings = lines.get()

    from robossl import registry
    from robossl.core.errors import OperationError
    from robossl.study.execution import JobRunner
    from robossl.study.jobs import Job
    from robossl.study.study_folder import Study, read_spec

    for env in settings["trusted"]:
        registry.trust_env(env)
    spec, selection = read_spec(settings["folder"])
    runner = JobRunner(Study(settings["folder"], spec, selection), settings["threads"])
    while True:
        job = Job.from_json(lines.get())
        answer: dict[str, str] = {}
        try:
            if (error := runner.run(job)) is not None:
                answer["error"] = error
        except OperationError as error:
            answer["full"] = str(error)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
