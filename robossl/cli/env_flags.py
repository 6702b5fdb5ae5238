"""Flags that describe an env beyond its id: `--env.KEY VALUE` and short forms of it, `--wrap`, `--observe`, ..."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from robossl.core.errors import UsageError

HELP = """\
env (recorded, so that later commands make the same one):
  --env.KEY VALUE          an argument of its constructor: --env.size 6 --env.config.cars 3
  --camera NAME            of a robot: the camera of images and videos (a robot file: the first that sees the robot)
  --keyframe NAME          of a robot file: where episodes start (home, else the first); none: the pose of the file
  --sensors NAMES          of a robot file: sensors to observe, separated by commas, or all
  --mocap KIND             of a robot file: position or pose moves mocap bodies by actions
  --reward TERMS           of a robot file: "forward=1 + 0.2*upright"; terms: qpos.JOINT, qvel.JOINT=V, forward=V,
                           height=H, upright, reach.A.B, effort
  --wrap MODULE:WRAPPER    a wrapper around each sub-environment; repeat the flag for more, the innermost first
                           --wrap 'gymnasium.wrappers:TimeLimit?max_episode_steps=200'
  --observe KEY,KEY        parts of the observation to keep (all that can be recorded)
  --success KEY            key of the info that reports that the task is solved (is_success, else success)
  --adapter NAME           registered class that saves and sets its state (mujoco: envs with MuJoCo's model and data)
  --info KEY,KEY           further keys of the info to record (is_success and cost are, where the env has them)"""
_LISTS = {"--wrap": "wrap", "--observe": "observe", "--info": "info"}
_ARGUMENT = "--env."
# arguments of robots that have a flag of their own
_SHORT = {f"--{name}": name for name in ("camera", "keyframe", "sensors", "mocap", "reward")}


@dataclass
class EnvFlags:
    """The flags of one command line."""

    arguments: dict[str, Any] = field(default_factory=dict)
    wrap: list[str] = field(default_factory=list)
    observe: list[str] = field(default_factory=list)
    info: list[str] = field(default_factory=list)
    success: str | None = None
    adapter: str | None = None

    def __bool__(self) -> bool:
        return bool(self.arguments or self.wrap or self.observe or self.info or self.success or self.adapter)

    def apply(self, env: str) -> str:
        """Return the name of an env with the flags."""
        from robossl.core.env_ids import with_options

        return with_options(
            env, self.arguments, self.wrap, self.observe, self.success, self.info, self.adapter
        )


def split_env_flags(args: Sequence[str]) -> tuple[list[str], EnvFlags]:
    """Split a command line into (the other arguments, the flags of the env).

    Raises:
        UsageError: A flag has no value.
    """
    from robossl.core.env_ids import read_value

    others: list[str] = []
    flags = EnvFlags()
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        name, equals, value = arg.partition("=")
        if not (name.startswith(_ARGUMENT) or name in _LISTS or name in (*_SHORT, "--success", "--adapter")):
            others.append(arg)
            continue
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UsageError(f"{name} has no value; see --help")
            value = rest.pop(0)
        if name in _SHORT:
            flags.arguments[_SHORT[name]] = value if name == "--reward" else read_value(value)
        elif name.startswith(_ARGUMENT):
            flags.arguments[name.removeprefix(_ARGUMENT)] = read_value(value)
        elif name in ("--success", "--adapter"):
            setattr(flags, name[2:], value)
        elif name == "--wrap":
            flags.wrap.append(value)
        else:
            getattr(flags, _LISTS[name]).extend(key for key in value.split(",") if key)
    return others, flags
