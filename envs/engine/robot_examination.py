"""Examination of a simulated robot for `robossl check`: faults with which an env passes every test of its API."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from robossl.core.interfaces import Finding

from .camera_choice import robot_shares
from .control_ranges import GIVEN, UNKNOWN, actuator_names, control_ranges, home_controls
from .mujoco_setup import load_mujoco
from .rendering import FREE_CAMERA, camera_names, is_dark
from .robot_files import file_kind, removed_flags, scene_file
from .robot_probe import action_effects, body_name, find_fall, joint_name, sampled_start
from .urdf import read_urdf

if TYPE_CHECKING:
    from mujoco import MjData, MjModel

    from .simulation import Simulation
    from .start_states import StartStates

_DEPTH = 0.01  # [m] of penetration at the start that is reported
_REACH = 0.02  # of the range of a control, by which home may be outside
_NAMES = 6  # listed in a message


def examine(simulation: Simulation, camera: str | None, seconds: float) -> list[Finding]:
    """Return the findings about the robot of a simulation.

    Args:
        simulation: The simulation; its state does not change.
        camera: The camera that the user chose; None if the env chooses.
        seconds: Time limit of the simulations [s].
    """
    model, start = simulation.model, getattr(simulation.task, "start", None)
    data = sampled_start(simulation.task, simulation.substeps) if start is None else start.data()
    return [
        *_file(simulation),
        *_controls(model, data),
        *([] if start is None else _corrections(model, start)),
        *_penetration(model, data),
        *_fall(simulation, seconds / 2),
        *_effects(simulation, seconds / 2),
        *_hidden_state(model),
        *_camera(simulation, np.array(data.qpos), camera),
    ]


def _listed(names: list[str]) -> str:
    """Return names separated by commas; of many, the first and how many more."""
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"{', '.join(names[:_NAMES])}{more}"


# --- the file


def _file(simulation: Simulation) -> Iterator[Finding]:
    """Yield what the file lacks, and what was changed."""
    path, model = simulation.task.robot.model, simulation.model
    if not os.path.isabs(path):
        return
    kind, flags = file_kind(path), removed_flags(path)
    if flags:
        yield Finding(
            "robot file",
            None,
            f"the flag {', '.join(flags)} is taken out: a batch cannot simulate it",
            "states and timing are those without it",
            f'remove <flag {flags[0]}="enable"/>',
        )
    lacks = [what for what, count in _parts(model, kind) if not count]
    if kind != "MJCF":
        added = " a motor was added for each joint, with its effort limit;" if kind == "URDF" else ""
        added += "".join(f" {note};" for note in (read_urdf(path).notes if kind == "URDF" else []))
        yield Finding(
            "robot file",
            None,
            f"{kind} read by MuJoCo;{added} it has no {', no '.join(lacks) or 'lack'}",
            "the format has none of these" if kind == "URDF" else "the source file is not in it",
            "convert it to MJCF and add them: mujoco.mj_saveLastXML(...)" if lacks and kind == "URDF" else "",
        )


def _parts(model: MjModel, kind: str) -> list[tuple[str, int]]:
    free = int(load_mujoco().mjtJoint.mjJNT_FREE)
    parts = [
        ("floor", int(_has_floor(model))),
        ("keyframe", model.nkey),
        ("camera", model.ncam),
        ("light", model.nlight),
        ("sensor", model.nsensor),
    ]
    return [*parts, ("free base", int((model.jnt_type == free).any()))] if kind == "URDF" else parts


def _has_floor(model: MjModel) -> bool:
    """Return whether a fixed geom can touch something."""
    fixed = model.body_weldid[model.geom_bodyid] == 0
    return bool((fixed & ((model.geom_contype > 0) | (model.geom_conaffinity > 0))).any())


# --- controls and home


def _controls(model: MjModel, data: MjData) -> Iterator[Finding]:
    """Yield the controls without range, and the servos that cannot hold the robot at home."""
    if not model.nu:
        return
    names, ranges = actuator_names(model), control_ranges(model, data.qpos)
    unknown = [name for name, source in zip(names, ranges.sources) if source == UNKNOWN]
    derived = [
        f"{n} {low:.3g} to {high:.3g} ({source})"
        for n, low, high, source in zip(names, ranges.low, ranges.high, ranges.sources)
        if source not in (GIVEN, UNKNOWN)
    ]
    if unknown:
        yield Finding(
            "control ranges",
            None,
            f"{len(unknown)} controls without a range act over [-1, 1]: {_listed(unknown)}",
            "the file has no ctrlrange and no limit from which one follows: the effect may be far too weak or strong",
            'ctrlrange="LOW HIGH" in the unit of the actuator',
        )
    if derived:
        yield Finding(
            "control ranges",
            None,
            f"{len(derived)} controls without ctrlrange act over what they can reach: {_listed(derived)}",
        )
    if not unknown and not derived:
        yield Finding("control ranges", True, f"{model.nu} controls have a ctrlrange")
    needed = home_controls(model, data.actuator_length)
    margin = _REACH * np.maximum(ranges.high - ranges.low, 1e-9)
    outside = np.flatnonzero((needed < ranges.low - margin) | (needed > ranges.high + margin))
    if len(outside):
        texts = [
            f"{names[i]} needs {needed[i]:.3g}, its control goes from {ranges.low[i]:.3g} to {ranges.high[i]:.3g}"
            for i in outside
        ]
        yield Finding(
            "home",
            False,
            f"out of reach of the actions: {_listed(texts)}",
            "no action holds the robot where its episodes start",
            "widen ctrlrange, or choose another start: --env.keyframe",
        )
    elif np.isfinite(needed).any():
        yield Finding("home", True, "the servos can hold the pose at which episodes start")


# --- the start


def _corrections(model: MjModel, start: StartStates) -> Iterator[Finding]:
    """Yield how the start differs from the pose of the file."""
    if start.lift > 0:
        yield Finding(
            "start",
            None,
            f"the file puts the robot inside something fixed: episodes start {start.lift:.3g} m higher",
            "it would be thrown out at the first step",
            "raise its body, or add a keyframe",
        )
    if len(start.outside):
        names = [joint_name(model, joint) for joint in start.outside]
        yield Finding(
            "start",
            None,
            f"the pose of the file is outside the range of {_listed(names)}: episodes start at the limit",
            "MuJoCo would push it back",
            "add a keyframe within the ranges",
        )


def _penetration(model: MjModel, data: MjData) -> Iterator[Finding]:
    """Yield the deepest penetration at the start."""
    depths = -np.asarray(data.contact.dist)
    if depths.size and depths.max() > _DEPTH:
        contact = data.contact[int(np.argmax(depths))]
        pair = " and ".join(
            model.geom(int(geom)).name or f"a geom of {body_name(model, int(model.geom_bodyid[geom]))}"
            for geom in contact.geom
            if geom >= 0
        )
        yield Finding(
            "start",
            False,
            f"{pair} begin {depths.max():.3g} m inside each other",
            "the robot is thrown about at the first steps",
            "move them apart, exclude the pair of bodies from contact, or choose another start: --env.keyframe",
        )


def _fall(simulation: Simulation, seconds: float) -> Iterator[Finding]:
    """Yield a robot that falls for ever."""
    model, path = simulation.model, simulation.task.robot.model
    fall = find_fall(simulation.task, simulation.substeps, seconds)
    if fall is None:
        return
    scene = scene_file(path) if os.path.isabs(path) else None
    beside = f"use {scene}, which includes this file and has one" if scene else ""
    floor = _has_floor(model)
    yield Finding(
        "fall",
        False,
        f"{fall.body} falls {fall.distance:.3g} m in {fall.seconds:.3g} s; "
        + ("it falls past what is fixed" if floor else "the file has no floor"),
        "nearly every recorded step is a fall",
        beside or '<geom type="plane" size="0 0 1"/> in <worldbody>',
    )


# --- effects of actions


def _effects(simulation: Simulation, seconds: float) -> Iterator[Finding]:
    """Yield joints that no action moves, and actions without effect."""
    model = simulation.model
    effects = action_effects(simulation.task, simulation.substeps, seconds)
    driven = _driven_roots(model)
    still: list[int] = []
    passive: list[int] = []
    for joint in range(model.njnt):
        first = int(model.jnt_dofadr[joint])
        last = int(model.jnt_dofadr[joint + 1]) if joint + 1 < model.njnt else model.nv
        if not effects.moved[first:last].any():
            root = int(model.body_rootid[model.jnt_bodyid[joint]])
            (still if root in driven else passive).append(joint)
    mode, guides = simulation.task.mocap, _mocap_bodies(model)
    if still:
        held = f"; mocap body {_listed(guides)} holds the robot" if guides and mode != "pose" else ""
        moving = (
            "move the mocap bodies by actions: --env.mocap true"
            if mode is None
            else "turn them too: --env.mocap pose"
        )
        yield Finding(
            "joints that actions move",
            False,
            f"no action moves {_listed([joint_name(model, joint) for joint in still])}{held}",
            "these numbers of the observation never depend on an action",
            moving if held else "add an actuator, or fix the joint",
        )
    else:
        yield Finding("joints that actions move", True, f"{model.njnt - len(passive)} of {model.njnt} joints")
    if passive:
        yield Finding(
            "passive joints",
            None,
            f"no actuator drives {_listed([joint_name(model, joint) for joint in passive])}, and random actions did "
            "not reach it",
            "an agent has to find out how to touch it",
        )
    names = actuator_names(model)
    sticking = [i for i in effects.without_effect if i < len(names) and _needs_contact(model, i)]
    if sticking:
        yield Finding(
            "actions in contact",
            None,
            f"no effect of {_listed([names[i] for i in sticking])} without contact",
            "an adhesion acts only where its body touches something",
        )
    lacking = [
        names[i] if i < len(names) else f"mocap action {i - len(names)}"
        for i in effects.without_effect
        if i not in sticking
    ]
    if lacking:
        yield Finding(
            "actions",
            False,
            f"without any effect: {_listed(lacking)}",
            "a policy explores them in vain",
            "check gain, gear and transmission of the actuator, or remove it",
        )
    if effects.diverged:
        yield Finding(
            "extreme actions",
            False,
            "the physics diverges within a second of single or random actions",
            "these episodes end at once",
            'a smaller timestep, integrator="implicitfast", damping or armature of the joints, a smaller ctrlrange',
        )
    if guides and mode is None:
        yield Finding(
            "mocap bodies",
            None,
            f"{_listed(guides)}: no action moves it",
            "it stays where it is",
            "--env.mocap true moves mocap bodies, --env.mocap pose also turns them",
        )


def _needs_contact(model: MjModel, actuator: int) -> bool:
    """Return whether an actuator is an adhesion, whose transmission is a body."""
    return bool(model.actuator_trntype[actuator] == load_mujoco().mjtTrn.mjTRN_BODY)


def _driven_roots(model: MjModel) -> set[int]:
    """Return the root bodies of the trees that have an actuator."""
    mujoco = load_mujoco()
    kinds, wraps = mujoco.mjtTrn, mujoco.mjtWrap
    bodies: list[int] = []
    for kind, target in zip(model.actuator_trntype, model.actuator_trnid[:, 0]):
        if kind in (int(kinds.mjTRN_JOINT), int(kinds.mjTRN_JOINTINPARENT)):
            bodies.append(int(model.jnt_bodyid[target]))
        elif kind == int(kinds.mjTRN_TENDON):
            first = int(model.tendon_adr[target])
            for wrap in range(first, first + int(model.tendon_num[target])):
                entry = int(model.wrap_objid[wrap])
                if model.wrap_type[wrap] == int(wraps.mjWRAP_JOINT):
                    bodies.append(int(model.jnt_bodyid[entry]))
                elif model.wrap_type[wrap] == int(wraps.mjWRAP_SITE):
                    bodies.append(int(model.site_bodyid[entry]))
        elif kind == int(kinds.mjTRN_BODY):
            bodies.append(int(target))
        elif target >= 0:
            bodies.append(int(model.site_bodyid[target]))
    return {int(model.body_rootid[body]) for body in bodies}


def _mocap_bodies(model: MjModel) -> list[str]:
    return [body_name(model, body) for body in range(1, model.nbody) if model.body_mocapid[body] >= 0]


# --- hidden state, camera


def _hidden_state(model: MjModel) -> Iterator[Finding]:
    """Yield state that decides the future and is not observed."""
    hidden = []
    if getattr(model, "nhistory", 0):
        delayed = [n for n, d in zip(actuator_names(model), model.actuator_history[:, 0]) if d]
        hidden.append(f"delayed controls or sensors{f' ({_listed(delayed)})' if delayed else ''}")
    if model.npluginstate:
        hidden.append("the state of a plugin")
    if hidden:
        yield Finding(
            "hidden state",
            None,
            f"not observed: {', '.join(hidden)}",
            "equal observations can have different futures; a model of single observations cannot predict them",
            "use a model or policy with memory",
        )
    elif model.na:
        yield Finding("hidden state", True, f"{model.na} activations of actuators are observed")


def _camera(simulation: Simulation, qpos: np.ndarray, camera: str | None) -> Iterator[Finding]:
    """Yield the cameras that show nothing of the robot, and a scene without light."""
    model = simulation.model
    names, shares = camera_names(model), robot_shares(model, qpos)
    blind = [name for name, share in zip(names, shares) if share == 0]
    seeing = [name for name in names if name not in blind]
    if camera is not None and str(camera) in blind:
        yield Finding(
            "camera",
            False,
            f"{camera} shows nothing of the robot",
            "images and videos are empty",
            f"--env.camera {(seeing or [FREE_CAMERA])[0]}",
        )
    elif blind and camera is None:
        chosen = simulation.task.default_camera() if hasattr(simulation.task, "default_camera") else names[0]
        yield Finding(
            "camera",
            None if chosen not in blind else False,
            f"{_listed(blind)} shows nothing of the robot; {chosen} is used",
            "",
            f"--env.camera NAME chooses another: {', '.join([*names, FREE_CAMERA])}",
        )
    if is_dark(model):
        yield Finding(
            "light",
            None,
            "the file has no light: the headlight is switched on",
            "images would be black",
            '<light pos="0 0 3"/>, or <headlight diffuse=".4 .4 .4"/>',
        )
