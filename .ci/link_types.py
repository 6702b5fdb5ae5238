"""Let type checkers find robossl in an editable install: links to its sources as the stub package `robossl-stubs`.

An editable install with renamed folders (envs/ as robossl.envs) is found by an import hook, which mypy and pyright do
not run. `python .ci/link_types.py [FOLDER]` links every module as .pyi into FOLDER, by default site-packages of the
running Python; nothing imports them. `make setup` runs it; run it again after adding a module.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"": "robossl", "envs": "envs", "agents": "agents", "assets": "assets"}


def link(target: Path) -> int:
    """Write the links into `target/robossl-stubs`, in place of older ones, and return their number."""
    stubs = target / "robossl-stubs"
    shutil.rmtree(stubs, ignore_errors=True)
    count = 0
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            stub = (stubs / package / path.relative_to(ROOT / folder)).with_suffix(".pyi")
            stub.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(path, stub)
            count += 1
    return count


if __name__ == "__main__":
    link(Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("purelib")))
