"""World models on the Hugging Face Hub: upload of all files of a folder in one commit, and download."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from robossl.core.errors import OperationError, UsageError, one_line

_FILES = ("config.json", "model.safetensors", "card.md")  # what WorldModel.load reads, and the model card
_DOWNLOADED = (*_FILES, "goal_heads.safetensors")  # nothing else of a repository is fetched
_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
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


def is_repository_name(name: str) -> bool:
    """Return whether a text has the form USER/NAME of a repository."""
    return _NAME.fullmatch(name) is not None


def download(name: str) -> Path:
    """Download the files of a world model from the repository `name`, or find them in the cache of the Hub.

    Returns:
        The folder of the model.

    Raises:
        UsageError: huggingface_hub is not installed, or the repository holds no world model.
        OperationError: The download failed.
    """
    hub = _import_hub("a model on the Hub")
    try:
        folder = Path(hub.snapshot_download(name, allow_patterns=list(_DOWNLOADED)))
    except _hub_errors(hub) as error:
        raise OperationError(
            f"the model {name} cannot be downloaded from the Hub: {_one_line(error)}"
        ) from error
    missing = [file for file in _FILES[:2] if not (folder / file).is_file()]
    if missing:
        raise UsageError(
            f"{name} on the Hub: expected a world model of robossl, got no {' and no '.join(missing)}"
        )
    return folder


def push(folder: str | Path, name: str) -> str:
    """Upload the model in `folder` to the repository `name`, which is private if it is new.

    Returns:
        The address of the commit; all files are in it, or nothing is uploaded.

    Raises:
        OperationError: The Hub rejects the upload; the folder is unchanged.
    """
    hub, folder = _import_hub(), Path(folder)
    card = (folder / "card.md").read_text()
    usage = f"\nLoad it from the Hub with `robossl.from_pretrained({name!r})`.\n"
    contents: dict[str, Any] = {file: folder / file for file in _DOWNLOADED if (folder / file).is_file()}
    contents["README.md"] = (_HEAD + card + usage).encode()
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


def _import_hub(user: str = "--push-to-hub") -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise UsageError(
            f"{user} needs huggingface_hub, which is not installed: pip install 'robossl[hub]'"
        ) from None
    return huggingface_hub


def _hub_errors(hub: Any) -> tuple[type[Exception], ...]:
    """Return what calls of the Hub raise: its own errors, those of its HTTP library, and of the file system."""
    return (*hub.errors.HfHubHTTPError.__bases__, OSError, ValueError)


def _one_line(error: Exception) -> str:
    return one_line(error) or type(error).__name__
