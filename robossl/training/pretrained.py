"""Pretrained world models: those that are installed with robossl, a folder, or a repository on the Hugging Face Hub."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from robossl import registry
from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.interfaces import ProgressReporter
from robossl.core.small_files import as_path
from robossl.evaluation.context import EVALUATION_SEED
from robossl.streams import Stream
from robossl.training import agent_loading, hub, output_dirs
from robossl.training.collection import collect_stream
from robossl.training.requests import CollectRequest
from robossl.world_model import WorldModel

_FOLDER = "pretrained"  # in the assets
_CARD = "card.md"
_EVALUATION_STEPS, _NUM_ENVS = 20_000, 32  # of the stream on which a model is evaluated


def pretrained_names() -> list[str]:
    """Return the names of the models that are installed with robossl.

    Example:
        models = {name: robossl.from_pretrained(name) for name in robossl.pretrained_names()}
    """
    root = _installed()
    return (
        sorted(p.name for p in root.iterdir() if (p / output_dirs.MANIFEST).is_file())
        if root.is_dir()
        else []
    )


def pretrained_folder(source: str | Path) -> Path:
    """Return the folder of a pretrained model.

    Args:
        source: A name of `pretrained_names`, a folder, or USER/NAME of the Hugging Face Hub, which is downloaded.

    Raises:
        UsageError: There is no such name or folder.
        OperationError: The download failed.
    """
    names = ", ".join(pretrained_names())
    path = as_path(source, f"a folder, USER/NAME on the Hugging Face Hub or one of {names}")
    if path.is_dir():
        return path
    if str(source) in pretrained_names():
        return _installed() / str(source)
    if str(source) in registry.env_ids():
        of_env = [
            name for name in pretrained_names() if agent_loading.env_of(_installed() / name) == str(source)
        ]
        hint = f"{of_env[0]} is of this env" if of_env else "none is of this env"
        raise UsageError(f"expected a pretrained model, got the env {source}; available: {names}; {hint}")
    if isinstance(source, str) and hub.is_repository_name(source):
        return hub.download(source)
    if len(path.parts) > 1:
        raise UsageError(
            f"expected a folder, USER/NAME on the Hugging Face Hub or one of {names}, got {source}"
        )
    raise unknown_name_error("pretrained model", str(source), pretrained_names())


def from_pretrained(source: str | Path, device: str = "auto") -> WorldModel:
    """Return a trained world model.

    Example:
        model = robossl.from_pretrained("reacher")         # installed with robossl
        model = robossl.from_pretrained("models/reacher")  # a model, run or agent folder
        model = robossl.from_pretrained("user/reacher")    # Hugging Face Hub; needs robossl[hub]
        print(robossl.model_card("reacher"))

    Args:
        source: Name of an installed model, the folder of a model, run or agent, or a repository on the Hub. Only JSON
            and safetensors are read: no code of a repository is run.
        device: auto, cpu, cuda or mps.

    Returns:
        The model, with its goal heads if it has any; encode, predict, infer_action and plan with it at once.

    Raises:
        UsageError: There is no such model; the message lists those that are installed.
    """
    return agent_loading.load_model(pretrained_folder(source), device)


def model_card(source: str | Path) -> str:
    """Return the card of a pretrained model in Markdown: training data, returns beside random actions, how it was made.

    Example:
        print(robossl.model_card("reacher"))

    Args:
        source: As for `from_pretrained`.

    Raises:
        UsageError: There is no such model, or it has no card.
    """
    folder = pretrained_folder(source)
    for path in (folder / _CARD, folder / "model" / _CARD):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise UsageError(f"{folder}: expected a model card {_CARD}, got none")


def collect_for_evaluation(
    folder: str | Path, env: str | None, threads: int, seed: int, progress: ProgressReporter
) -> Stream:
    """Record the steps on which a pretrained model is evaluated, with a seed that no training uses.

    Args:
        folder: Folder of the model.
        env: Env; None: the one that the model was trained in.
        threads: CPU threads; 0: all cores, at most 8.
        seed: Seed of the evaluation.
        progress: Receives the steps.
    """
    name = env or agent_loading.env_of(folder)
    request = CollectRequest(
        name, steps=_EVALUATION_STEPS, seed=EVALUATION_SEED + seed, num_envs=_NUM_ENVS, threads=threads
    )
    return collect_stream(request, progress)


def _installed() -> Path:
    return Path(str(resources.files("robossl.assets"))) / _FOLDER
