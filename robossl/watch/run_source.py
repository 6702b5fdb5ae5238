"""RunSource: what the live page shows of a run, read from its folder while another process writes it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robossl.core.env_ids import display_name
from robossl.core.errors import UsageError
from robossl.core.small_files import read_json, read_toml
from robossl.training import output_dirs
from robossl.watch.server import Answer, Route, page_file

METRICS, LOG, REPORT, MANIFEST = "metrics.jsonl", "log.txt", "report.json", "manifest.json"
KINDS = ("run", "agent", "model", "study")
_ACTIVE = 30.0  # [s] since the last change of a file after which a run counts as stopped
_POLL = 0.1  # [s] between two looks for a run that begins
_LOG_BYTES = 64_000  # of the end of the log that is shown
_CHUNK = 8_000_000  # [bytes] of metrics in one answer


def is_pending(folder: str | Path) -> bool:
    """Return whether a folder may become that of a run: it does not exist yet, or its manifest is not written yet."""
    folder = Path(folder)
    return not (folder / MANIFEST).is_file() and (
        not folder.exists() or (folder / output_dirs.LOCK).is_file()
    )


def wait_for_run(folder: str | Path, seconds: float) -> None:
    """Wait for a run that was started just before, at most so many seconds."""
    end, existed = time.monotonic() + seconds, Path(folder).exists()
    while (is_pending(folder) or not existed) and time.monotonic() < end:
        existed = Path(folder).exists()  # its lock is written just after the folder
        time.sleep(_POLL)


class RunSource:
    """Incremental reader of the files of a run; it never writes, and holds no lock."""

    def __init__(self, folder: str | Path) -> None:
        """Open the folder of a run, agent or model.

        Raises:
            UsageError: It is none of them.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UsageError(f"no folder {folder}; expected the folder of a run")
        if not (self.folder / MANIFEST).is_file():
            raise UsageError(
                f"{folder}: expected the folder of a run, agent or model, got one without {MANIFEST}"
            )
        self.manifest = read_json(self.folder / MANIFEST)
        kind = self.manifest.get("kind") if isinstance(self.manifest, dict) else None
        if kind not in KINDS:
            raise UsageError(f"{folder}: expected a {' or '.join(KINDS)} folder, got a {kind} folder")
        self._lock = threading.Lock()

    def routes(self) -> dict[str, Route]:
        """Return the routes of the page."""
        return {
            "": lambda query: page_file("run.html"),
            "run.js": lambda query: page_file("run.js"),
            "chart.js": lambda query: page_file("chart.js"),
            "page.css": lambda query: page_file("page.css"),
            "data": self.data,
            "video": self.video,
        }

    def data(self, query: Mapping[str, str]) -> Answer:
        """Return what is new since the cursor of the last answer, as JSON.

        Keys: title, state, records (of metrics.jsonl), cursor, reset (whether earlier records no longer hold), log,
        videos ([{name, changed}]), total (environment steps of the whole run, or null).
        """
        records, cursor, reset, more = self._records(query.get("cursor", ""))
        newest = self._newest()
        finished = (self.folder / REPORT).is_file() or self.manifest.get("kind") != "run"
        age = time.time() - newest
        state = "running" if age < _ACTIVE and not self._is_done() else "finished" if finished else "stopped"
        return Answer.of(
            {
                "title": display_name(str(self.manifest["env"]))
                if self.manifest.get("env")
                else self.folder.name,
                "folder": str(self.folder),
                "kind": self.manifest["kind"],
                "seed": self.manifest.get("seed"),
                "state": state,
                "age": round(age, 1),
                "total": self._total_steps(),
                "records": records,
                "cursor": cursor,
                "reset": reset,
                "more": more,
                "log": self._log(),
                "videos": self._videos(),
            }
        )

    def video(self, query: Mapping[str, str]) -> Answer:
        """Return a video of the run by its name."""
        name = query.get("name", "")
        if name not in {video["name"] for video in self._videos()}:
            raise UsageError(f"no video {name!r} in {self.folder}")
        return Answer(kind="video/mp4", file=self.folder / name)

    def _records(self, cursor: str) -> tuple[list[dict[str, Any]], str, bool, bool]:
        """Return the whole lines after a cursor, the new cursor, whether to start again, and whether there are more."""
        path = self.folder / METRICS
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                inode, offset = _parse_cursor(cursor)
                reset = (
                    inode != status.st_ino or offset > status.st_size
                )  # the run was cut back to a checkpoint
                start = 0 if reset else offset
                file.seek(start)
                text = file.read(_CHUNK)
        except FileNotFoundError:
            return [], "", cursor != "", False
        whole = text[: text.rfind(b"\n") + 1]
        stop = start + len(whole)
        return _parse_lines(whole), f"{status.st_ino}:{stop}", reset, len(text) == _CHUNK

    def _videos(self) -> list[dict[str, Any]]:
        """Return the videos, the newest first."""
        found = [(path.stat().st_mtime, path.name) for path in self.folder.glob("*.mp4")]
        return [{"name": name, "changed": changed} for changed, name in sorted(found, reverse=True)]

    def _log(self) -> list[str]:
        try:
            with open(self.folder / LOG, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(size - _LOG_BYTES, 0))
                return file.read().decode("utf-8", "replace").splitlines()[-200:]
        except FileNotFoundError:
            return []

    def _newest(self) -> float:
        """Return the time of the last change of a file of the run [s]."""
        names = (METRICS, LOG, REPORT, MANIFEST, "checkpoints", "stream")
        times = [(self.folder / name).stat().st_mtime for name in names if (self.folder / name).exists()]
        return max(times, default=0.0)

    def _is_done(self) -> bool:
        """Return whether the report is newer than the metrics: nothing was logged after it."""
        report, metrics = self.folder / REPORT, self.folder / METRICS
        return report.is_file() and (
            not metrics.is_file() or report.stat().st_mtime >= metrics.stat().st_mtime
        )

    def _total_steps(self) -> int | None:
        path = self.folder / "config.toml"
        steps = read_toml(path).get("steps") if path.is_file() else None
        return steps if isinstance(steps, int) else None


def _parse_cursor(cursor: str) -> tuple[int, int]:
    inode, _, offset = cursor.partition(":")
    return (int(inode), int(offset)) if inode.isdigit() and offset.isdigit() else (-1, 0)


def _parse_lines(text: bytes) -> list[dict[str, Any]]:
    """Return the records of whole lines; a line that is no JSON object is left out."""
    records = []
    for line in text.splitlines():
        try:
            record = json.loads(line, parse_constant=lambda constant: None)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records
