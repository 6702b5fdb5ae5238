"""A world model on the Hugging Face Hub: the files of its folder in one commit, where others fetch and load them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from robossl.core.errors import OperationError, UsageError

_FILES = ("config.json", "model.safetensors", "card.md")  # what WorldModel.load reads, and the card
_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_HEAD = """---
library_name: robossl
tags: [robotics, world-model, self-supervised]
---

"""


def check_login(name: str) -> None:
    """Ask before the work starts: `RequestError` for a name that is none, or where the Hub does not know who asks."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--push-to-hub is {name!r}; expected USER/NAME, a model repository on the Hugging Face Hub"
        )
    hub = _hub()
    try:
        hub.HfApi().whoami()
    except hub.errors.LocalTokenNotFoundError as error:
        raise UsageError("--push-to-hub needs somebody who is logged in: hf auth login, or HF_TOKEN") from error
    except _failures(hub) as error:
        raise UsageError(f"--push-to-hub: asking the Hub who you are failed: {_line(error)}") from error


def push(folder: str | Path, name: str) -> str:
    """Upload the model in `folder` to the repository `name`, made private if it is new; the address of the commit.

    All files come in one commit, or none. `WorkError` where the Hub refuses; the folder stays as it is.
    """
    hub, folder = _hub(), Path(folder)
    card = (folder / "card.md").read_text()
    here = f"\nFetch the folder with `huggingface_hub.snapshot_download({name!r})`.\n"
    contents: dict[str, Any] = {file: folder / file for file in _FILES}
    contents["README.md"] = (_HEAD + card + here).encode()
    files = [hub.CommitOperationAdd(path, content) for path, content in contents.items()]
    api = hub.HfApi(library_name="robossl")
    try:
        api.create_repo(name, private=True, exist_ok=True)
        done = api.create_commit(name, files, commit_message=card.splitlines()[0].lstrip("# "))
    except _failures(hub) as error:
        again = f"to try again: hf upload {name} {shlex.quote(str(folder))}"
        raise OperationError(
            f"the model is in {folder}, but not at {name} on the Hub: {_line(error)}; {again}"
        ) from error
    return str(done.commit_url)


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise UsageError(
            "--push-to-hub needs huggingface_hub, which is not installed: pip install 'robossl[hub]'"
        ) from None
    return huggingface_hub


def _failures(hub: Any) -> tuple[type[Exception], ...]:
    """What its calls raise: their own errors, those of the HTTP library they stand on, and of the file system."""
    return (*hub.errors.HfHubHTTPError.__bases__, OSError, ValueError)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
