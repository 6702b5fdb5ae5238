"""Upload to the Hugging Face Hub with its own client, to a fake Hub on this machine: all files or none."""

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
from cli_runner import fail, succeed
from gymnasium import spaces

from robossl.core.errors import OperationError, UsageError
from robossl.training import hub
from robossl.world_model import WorldModel, WorldModelConfig

MODEL = WorldModelConfig(
    latent_dim=8,
    encoder_hidden=(8,),
    dynamics_hidden=(8,),
    inverse_hidden=(8,),
    decoder_hidden=(8,),
    ensemble_size=2,
)


class FakeHub(ThreadingHTTPServer):
    """Answers like the Hub for the token "good"; keeps the uploaded files by repository."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.visibility: dict[str, str] = {}
        self.full = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class HubHandler(BaseHTTPRequestHandler):
    server: FakeHub

    def log_message(self, *args: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        known = self.headers.get("authorization") == "Bearer good"
        self.answer(
            200 if known else 401, {"name": "me", "type": "user"} if known else {"error": "who are you?"}
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        path = self.path.removeprefix("/api/")
        if path == "repos/create":
            request = json.loads(body)
            name = f"{request['organization']}/{request['name']}"
            self.server.visibility.setdefault(name, request["visibility"])
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
def fake_hub(monkeypatch, tmp_path) -> Iterator[FakeHub]:
    """A fake Hub, and a valid login."""
    with FakeHub() as server:
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
    model = WorldModel(MODEL, spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (1,)))
    model.save(tmp_path / "model")
    return model


def test_uploaded_files_are_the_model(fake_hub, model, tmp_path) -> None:
    assert hub.push(tmp_path / "model", "me/arm") == f"{fake_hub.url}/me/arm/commit/1"
    assert fake_hub.visibility == {"me/arm": "private"}
    downloaded = tmp_path / "downloaded"
    downloaded.mkdir()
    for name, content in fake_hub.files["me/arm"].items():
        (downloaded / name).write_bytes(content)
    loaded = WorldModel.load(downloaded)
    observation = np.random.default_rng(0).uniform(-1, 1, (4, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded.encode(observation), model.encode(observation))
    readme = (downloaded / "README.md").read_text()
    assert readme.startswith("---\nlibrary_name: robossl\n")
    assert "robossl.from_pretrained('me/arm')" in readme


def test_refused_upload_keeps_the_model(fake_hub, model, tmp_path) -> None:
    fake_hub.full = True
    message = (
        r"the model is in .*model, but not at me/arm on the Hub: .*storage limit.*; to try again: hf upload "
    )
    with pytest.raises(OperationError, match=message):
        hub.push(tmp_path / "model", "me/arm")
    assert not fake_hub.files
    assert WorldModel.load(tmp_path / "model").latent_dim == 8


def test_login_is_checked_before_any_work(fake_hub, tmp_path, monkeypatch) -> None:
    succeed(
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
    command = (
        "pretrain",
        "stream",
        "--updates",
        1,
        "--threads",
        1,
        "--out",
        "model",
        "--quiet",
        "--push-to-hub",
    )
    assert "expected USER/NAME" in fail(tmp_path, *command, "arm")
    monkeypatch.setenv("HF_TOKEN", "bad")
    assert "login check at the Hub failed" in fail(tmp_path, *command, "me/arm")
    monkeypatch.delenv("HF_TOKEN")
    assert "needs a login" in fail(tmp_path, *command, "me/arm")
    assert not (tmp_path / "model").exists()
    monkeypatch.setenv("HF_TOKEN", "good")
    done = succeed(tmp_path, *command, "me/arm", "--json")
    assert done.document["commit"] == f"{fake_hub.url}/me/arm/commit/1"
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == fake_hub.files["me/arm"][
        "model.safetensors"
    ]


def test_missing_package_is_named_with_its_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"pip install 'robossl\[hub\]'"):
        hub.check_login("me/arm")


def test_unreachable_hub_is_one_line(monkeypatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "good")
    with pytest.raises(UsageError, match="login check at the Hub failed") as caught:
        hub.check_login("me/arm")
    assert "\n" not in str(caught.value)
