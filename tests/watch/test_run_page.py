"""The live page of a run: new records at once, restarts, states, and the page itself in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from small_report import small_report

from robossl.core.errors import UsageError
from robossl.training import output_dirs
from robossl.training.config import LearnConfig
from robossl.watch.run_source import RunSource, is_pending, wait_for_run
from robossl.watch.server import PageServer

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def append(run: Path, *records: dict) -> None:
    with open(run / "metrics.jsonl", "a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def answer(source: RunSource, cursor: str = "") -> dict:
    return json.loads(source.data({"cursor": cursor}).content)


@pytest.fixture
def run(tmp_path):
    """A run with two records and a log, as it stands while it learns."""
    output_dirs.write_manifest(tmp_path, "run", LearnConfig(), env="robossl/Reacher-v0", seed=3)
    append(tmp_path, {"step": 100, "world_model/loss": 1.0}, {"step": 200, "world_model/loss": 0.5})
    (tmp_path / "log.txt").write_text("12:00:00  explore: 100 steps\n")
    return tmp_path


@pytest.fixture
def serve():
    """Return a function that serves routes in the background and returns the address."""
    servers = []

    def start(routes) -> PageServer:
        server = PageServer(routes)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def get(url: str, **headers: str) -> tuple[int, bytes, dict]:
    try:
        with urlopen(Request(url, headers=headers), timeout=10) as reply:
            return reply.status, reply.read(), dict(reply.headers)
    except HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def test_answers_hold_only_what_is_new(run):
    source = RunSource(run)
    first = answer(source)
    assert [record["step"] for record in first["records"]] == [100, 200]
    assert answer(source, first["cursor"])["records"] == []
    append(run, {"step": 300, "world_model/loss": None})
    second = answer(source, first["cursor"])
    assert (second["records"], second["reset"]) == ([{"step": 300, "world_model/loss": None}], False)


def test_half_a_line_is_left_for_the_next_answer(run):
    source = RunSource(run)
    cursor = answer(source)["cursor"]
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 300, "world')
    assert answer(source, cursor)["records"] == []
    with open(run / "metrics.jsonl", "a") as file:
        file.write('_model/loss": 0.1}\n')
    assert answer(source, cursor)["records"] == [{"step": 300, "world_model/loss": 0.1}]


def test_resumed_run_that_was_cut_back_starts_again(run):
    source = RunSource(run)
    cursor = answer(source)["cursor"]
    os.truncate(run / "metrics.jsonl", len('{"step": 100, "world_model/loss": 1.0}\n'))
    again = answer(source, cursor)
    assert again["reset"]
    assert [record["step"] for record in again["records"]] == [100]


def test_state_is_running_then_stopped_or_finished(run):
    source = RunSource(run)
    assert answer(source)["state"] == "running"
    old = time.time() - 3600
    for path in [run, *run.iterdir()]:
        os.utime(path, (old, old))
    assert answer(source)["state"] == "stopped"
    (run / "report.json").write_text(json.dumps(small_report()))
    assert answer(source)["state"] == "finished"


def test_log_total_and_videos_are_those_of_the_folder(run):
    (run / "agent.mp4").write_bytes(b"0123456789")
    shown = answer(RunSource(run))
    assert shown["log"] == ["12:00:00  explore: 100 steps"]
    assert (shown["total"], shown["seed"], shown["title"]) == (64_000, 3, "robossl/Reacher-v0")
    assert [video["name"] for video in shown["videos"]] == ["agent.mp4"]


@pytest.mark.parametrize("name", ["../secret.mp4", "metrics.jsonl", ""])
def test_nothing_but_the_videos_of_the_run_is_sent(name, run):
    (run.parent / "secret.mp4").write_bytes(b"x")
    with pytest.raises(UsageError, match="no video"):
        RunSource(run).video({"name": name})


@pytest.mark.parametrize("kind", [None, "stream"])
def test_other_folders_are_refused_in_one_line(kind, tmp_path):
    if kind:
        output_dirs.write_manifest(tmp_path, kind)
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match=r"folder of a run|run or agent or model") as caught:
            RunSource(folder)
        assert "\n" not in str(caught.value)


def test_only_the_address_with_the_token_and_the_name_of_this_machine_answers(run, serve):
    server = serve(RunSource(run).routes())
    assert server.server_address[0] == "127.0.0.1"
    status, content, headers = get(server.url)
    assert (status, b"<title>robossl watch" in content) == (200, True)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert get(server.url + "data")[0] == 200
    root = f"http://127.0.0.1:{server.port}/"
    assert [get(root + path)[0] for path in ("", "x/", "x/data", f"{server.token}/other")] == [404] * 4
    assert get(server.url + "data", Host="robossl.example.org")[0] == 403
    assert get(server.url + "video?name=x")[0] == 400


def test_two_servers_have_different_tokens_and_a_taken_port_is_one_line(serve):
    first, second = serve({}), serve({})
    assert len(first.token) >= 20
    assert first.token != second.token
    from robossl.core.errors import OperationError

    with pytest.raises(OperationError, match="--port"):
        PageServer({}, first.port)


def test_video_is_sent_in_the_requested_range(run, serve):
    (run / "agent.mp4").write_bytes(b"0123456789")
    server = serve(RunSource(run).routes())
    status, content, headers = get(server.url + "video?name=agent.mp4", Range="bytes=2-4")
    assert (status, content, headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    assert get(server.url + "video?name=agent.mp4", Range="bytes=8-")[1] == b"89"


def test_import_of_the_run_page_loads_no_heavy_package():
    program = (
        "import sys, robossl.watch.run_source; print(sorted({'torch', 'mujoco', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_page_in_a_browser_shows_records_that_are_written_while_it_is_open(run, serve, tmp_path_factory):
    source = RunSource(run)
    routes = source.routes()
    polls = []

    def data(query):
        reply = source.data(query)
        polls.append(query.get("cursor"))
        if len(polls) == 1:
            append(run, {"step": 300, "world_model/loss": 0.25, "agent/rollout/ep_rew_mean": 42.0})
        return reply

    server = serve({**routes, "data": data})
    profile = tmp_path_factory.mktemp("chromium")
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
            "--virtual-time-budget=2500", "--dump-dom", server.url,
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    page = done.stdout
    assert re.search(r'data-records="4"', page), page[:2000] + done.stderr[-2000:]
    for text in (
        "robossl/Reacher-v0",
        "running",
        "total loss",
        "return while learning",
        "explore: 100 steps",
    ):
        assert text in page
    assert page.count("<figure>") == 2
    assert "not up to date" not in page


@pytest.mark.parametrize("port", [-1, 65536])
def test_port_that_no_machine_has_is_refused(port: int) -> None:
    with pytest.raises(UsageError, match=f"port: expected 0 to 65535, got {port}"):
        PageServer({}, port)


def test_page_waits_for_a_run_that_begins_but_for_no_other_folder(tmp_path):
    folder = tmp_path / "run"

    def begin() -> None:
        time.sleep(0.3)
        folder.mkdir()
        (folder / output_dirs.LOCK).touch()
        output_dirs.write_manifest(folder, "run", LearnConfig(), env="robossl/Reacher-v0", seed=3)

    threading.Thread(target=begin).start()
    wait_for_run(folder, 20)
    assert RunSource(folder).manifest["seed"] == 3
    other = tmp_path / "other"
    other.mkdir()
    assert not is_pending(other)
    (other / output_dirs.LOCK).touch()
    assert is_pending(other), "its manifest is written after its lock"
