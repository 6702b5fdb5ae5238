"""A model goes to the Hub whole or not at all, by the Hub's own client, to a stand-in of the Hub on this machine."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import numpy as np
import pytest
from cli_runner import right, wrong
from gymnasium import spaces

from robossl.core.errors import OperationError, UsageError
from robossl.training import hub
from robossl.world_model import WorldModel, WorldModelConfig

MODEL = WorldModelConfig(latent_dim=8, encoder_hidden=(8,), dynamics_hidden=(8,), inverse_hidden=(8,), decoder_hidden=(8,), ensemble_size=2)


class StandIn(ThreadingHTTPServer):
    """Answers as the Hub does to somebody with the token "good"; keeps what it is given, by repository."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.files: dict[str, dict[str, bytes]] = {}
        self.visibility: dict[str, str] = {}
        self.full = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: StandIn

    def log_message(self, *words: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        known = self.headers.get("authorization") == "Bearer good"
        self.answer(
            200 if known else 401, {"name": "me", "type": "user"} if known else {"error": "who are you?"}
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        path = self.path.removeprefix("/api/")
        if path == "repos/create":
            wish = json.loads(body)
            name = f"{wish['organization']}/{wish['name']}"
            self.server.visibility.setdefault(name, wish["visibility"])
            self.answer(200, {"url": f"{self.server.url}/{name}"})
        elif path == "validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [file["path"] for file in json.loads(body)["files"]]
            kinds = [{"path": file, "uploadMode": "regular", "shouldIgnore": False} for file in files]
            self.answer(200, {"files": kinds})
        elif "/commit/" in path and self.server.full:
            self.answer(403, {"error": "storage limit reached"})
        else:
            name = path.removeprefix("models/").partition("/commit/")[0]
            lines = [json.loads(line) for line in body.splitlines()]
            self.server.files[name] = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            url = f"{self.server.url}/{name}/commit/1"
            self.answer(200, {"commitUrl": url, "commitOid": "1", "success": True})

    def answer(self, code: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def there(monkeypatch, tmp_path) -> Iterator[StandIn]:
    """The stand-in, and somebody whom it knows."""
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", "good")
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def model(tmp_path) -> WorldModel:
    made = WorldModel(MODEL, spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (1,)))
    made.save(tmp_path / "model")
    return made


def test_what_was_pushed_is_the_model(there, model, tmp_path) -> None:
    assert hub.push(tmp_path / "model", "me/arm") == f"{there.url}/me/arm/commit/1"
    assert there.visibility == {"me/arm": "private"}
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    for name, content in there.files["me/arm"].items():
        (fetched / name).write_bytes(content)
    again = WorldModel.load(fetched)
    seen = np.random.default_rng(0).uniform(-1, 1, (4, 3)).astype(np.float32)
    np.testing.assert_array_equal(again.encode(seen), model.encode(seen))
    shown = (fetched / "README.md").read_text()
    assert shown.startswith("---\nlibrary_name: robossl\n")
    assert "snapshot_download('me/arm')" in shown


def test_a_hub_that_refuses_is_named_and_the_model_stays(there, model, tmp_path) -> None:
    there.full = True
    words = r"the model is in .*model, but not at me/arm on the Hub: .*storage limit.*; to try again: hf upload me/arm "
    with pytest.raises(OperationError, match=words):
        hub.push(tmp_path / "model", "me/arm")
    assert not there.files
    assert WorldModel.load(tmp_path / "model").latent_dim == 8


def test_it_is_asked_for_before_the_work_starts(there, tmp_path, monkeypatch) -> None:
    right(
        tmp_path,
        "collect",
        "robossl/Reacher-v0",
        "--steps",
        640,
        "--num-envs",
        8,
        "--out",
        "stream",
        "--quiet",
    )
    learn = ("pretrain", "stream", "--updates", 1, "--threads", 1, "--out", "taught", "--quiet", "--push-to-hub")
    assert "expected USER/NAME" in wrong(tmp_path, *learn, "arm")
    monkeypatch.setenv("HF_TOKEN", "bad")
    assert "asking the Hub who you are failed" in wrong(tmp_path, *learn, "me/arm")
    monkeypatch.delenv("HF_TOKEN")
    assert "logged in" in wrong(tmp_path, *learn, "me/arm")
    assert not (tmp_path / "taught").exists()
    monkeypatch.setenv("HF_TOKEN", "good")
    done = right(tmp_path, *learn, "me/arm", "--json")
    assert done.document["pushed"] == f"{there.url}/me/arm/commit/1"
    assert (tmp_path / "taught" / "model.safetensors").read_bytes() == there.files["me/arm"][
        "model.safetensors"
    ]


def test_without_the_package_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"pip install 'robossl\[hub\]'"):
        hub.check_login("me/arm")


def test_nobody_there_is_one_line(monkeypatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "good")
    with pytest.raises(UsageError, match="asking the Hub who you are failed") as caught:
        hub.check_login("me/arm")
    assert "\n" not in str(caught.value)
