"""Runs the command line inside the process of the tests, where torch is imported once."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robossl.cli import main


@dataclass(frozen=True)
class Finished:
    """Output and exit code of a command."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The JSON document on stdout; nothing else may be there."""
        assert self.stdout.count("\n") == 1
        return json.loads(self.stdout)


def robossl(folder: Path, *args: object) -> Finished:
    """Run `robossl ARGS` in a folder."""
    out, err = io.StringIO(), io.StringIO()
    saved, sys.argv = (sys.argv, list(sys.path)), ["robossl", *map(str, args)]
    before = os.getcwd()
    os.chdir(folder)
    code: Any = None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main.main()
    except SystemExit as end:
        code = end.code
    finally:
        os.chdir(before)
        sys.argv, sys.path[:] = saved
    return Finished(code, out.getvalue(), err.getvalue())


def succeed(folder: Path, *args: object) -> Finished:
    """Run a command that must succeed."""
    finished = robossl(folder, *args)
    assert finished.code == 0, finished.stderr
    return finished


def fail(folder: Path, *args: object, code: int = 2) -> str:
    """Run a command that must be refused (2) or fail (1), and return its one line of stderr."""
    finished = robossl(folder, *args)
    assert (finished.code, finished.stdout) == (code, ""), finished
    assert finished.stderr.count("\n") == 1
    return finished.stderr
