"""Uploading a world model to the Hugging Face Hub: all files of its folder in one commit."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from robossl.core.errors import OperationError, UsageError

_FILES = ("config.json", "model.safetensors", "card.md")  # what WorldModel.load reads, and the model card
_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_HEAD = """---
library_name: robossl
tags: [robotics, world-model, self-supervised]
---

"""


def check_login(name: str) -> None:
    """Check the name of a repository and the login before any work.

    Raises:
        UsageError: The name is invalid, the package is missing, or there is no valid login.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--push-to-hub: expected USER/NAME, a model repository on the Hugging Face Hub, got {name!r}"
        )
    hub = _import_hub()
    try:
        hub.HfApi().whoami()
    except hub.errors.LocalTokenNotFoundError as error:
        raise UsageError("--push-to-hub needs a login: hf auth login, or HF_TOKEN") from error
    except _hub_errors(hub) as error:
        raise UsageError(f"--push-to-hub: the login check at the Hub failed: {_one_line(error)}") from error


def push(folder: str | Path, name: str) -> str:
    """Upload the model in `folder` to the repository `name`, which is private if it is new.

    Returns:
        The address of the commit; all files are in it, or nothing is uploaded.

    Raises:
        OperationError: The Hub rejects the upload; the folder is unchanged.
    """
    hub, folder = _import_hub(), Path(folder)
    card = (folder / "card.md").read_text()
    download = f"\nDownload the folder with `huggingface_hub.snapshot_download({name!r})`.\n"
    contents: dict[str, Any] = {file: folder / file for file in _FILES}
    contents["README.md"] = (_HEAD + card + download).encode()
    files = [hub.CommitOperationAdd(path, content) for path, content in contents.items()]
    api = hub.HfApi(library_name="robossl")
    try:
        api.create_repo(name, private=True, exist_ok=True)
        commit = api.create_commit(name, files, commit_message=card.splitlines()[0].lstrip("# "))
    except _hub_errors(hub) as error:
        raise OperationError(
            f"the model is in {folder}, but not at {name} on the Hub: {_one_line(error)}; "
            f"to try again: hf upload {name} {shlex.quote(str(folder))}"
        ) from error
    return str(commit.commit_url)


def _import_hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise UsageError(
            "--push-to-hub needs huggingface_hub, which is not installed: pip install 'robossl[hub]'"
        ) from None
    return huggingface_hub


def _hub_errors(hub: Any) -> tuple[type[Exception], ...]:
    """Return what calls of the Hub raise: its own errors, those of its HTTP library, and of the file system."""
    return (*hub.errors.HfHubHTTPError.__bases__, OSError, ValueError)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
