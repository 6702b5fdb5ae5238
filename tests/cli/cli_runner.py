"""The command line inside the tests' own process, where torch is imported once."""

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
class Done:
    """What a command printed, and its exit code."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The one JSON document that is all of stdout."""
        assert self.stdout.count("\n") == 1
        return json.loads(self.stdout)


def robossl(folder: Path, *words: object) -> Done:
    """`robossl WORDS` in a folder."""
    out, err = io.StringIO(), io.StringIO()
    kept, sys.argv = (sys.argv, list(sys.path)), ["robossl", *map(str, words)]
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
        sys.argv, sys.path[:] = kept
    return Done(code, out.getvalue(), err.getvalue())


def right(folder: Path, *words: object) -> Done:
    """A command that does what it was asked to."""
    done = robossl(folder, *words)
    assert done.code == 0, done.stderr
    return done


def wrong(folder: Path, *words: object, code: int = 2) -> str:
    """The one line with which a command refuses (2) or fails (1)."""
    done = robossl(folder, *words)
    assert (done.code, done.stdout) == (code, ""), done
    assert done.stderr.count("\n") == 1
    return done.stderr
