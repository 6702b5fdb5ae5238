"""`robossl check`: run all checks on one env in subprocesses and summarize them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gymnasium.envs.registration import EnvSpec

from robossl import registry
from robossl.core.errors import UsageError
from robossl.env_checker.check_result import CheckResult, check_info
from robossl.env_checker.isolation import EnvNotImportable, check_package_imports, run_in_subprocess
from robossl.env_checker.runner import run_in_thread
from robossl.env_checker.spec_json import NotSerializable
from robossl.env_checker.summary import summarize

_IMPORT_FACTOR = 3  # an import may take this many times as long as a call
_MUJOCO_LOG = Path("MUJOCO_LOG.TXT")  # MuJoCo writes its warnings into the working folder


def check(
    env_id: str,
    seconds_limit: float = 10.0,
    on_result: Callable[[CheckResult], None] | None = None,
    **settings: Any,
) -> list[CheckResult]:
    """Run all checks on an env.

    Args:
        env_id: Gymnasium id or MJCF file.
        seconds_limit: A call into the env that takes longer [s] is stopped; the other checks go on.
        on_result: Called with each result as soon as it is known.
        settings: Passed to `gymnasium.make`.

    Raises:
        UsageError: If the id is unknown or its package cannot be imported.
    """
    if seconds_limit <= 0:
        raise UsageError(f"expected seconds_limit above 0, got {seconds_limit}")
    check_package_imports(env_id, _IMPORT_FACTOR * seconds_limit)
    spec, settings = registry.env_spec(registry.trust_env(env_id)), registry.env_kwargs(env_id) | settings
    results: list[CheckResult] = []

    def add(result: CheckResult) -> None:
        results.append(result)
        if on_result is not None:
            on_result(result)

    log_existed = _MUJOCO_LOG.exists()
    try:
        _run(env_id, spec, settings, seconds_limit, add)
    finally:
        if not log_existed:
            _MUJOCO_LOG.unlink(missing_ok=True)
    for result in summarize(results):
        add(result)
    return results


def _run(
    env: str,
    spec: EnvSpec,
    settings: dict[str, Any],
    seconds: float,
    on_result: Callable[[CheckResult], None],
) -> None:
    try:
        run_in_subprocess(spec, settings, seconds, on_result, env)
    except (NotSerializable, EnvNotImportable) as error:
        reason = str(error) if isinstance(error, NotSerializable) else "only this process has the env"
        on_result(
            check_info(
                "process",
                f"checked in this process: {reason}",
                "a call that hangs is left in its thread, and a crash would end this process",
                'register(..., entry_point="my_package.my_module:MyEnv")',
            )
        )
        run_in_thread(spec, settings, seconds, on_result, env)
