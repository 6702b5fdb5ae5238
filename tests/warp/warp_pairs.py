"""The same task on MuJoCo Warp and on MuJoCo's own batch, from the same starts."""

import gymnasium
import numpy as np
import torch


def make_warp(name, num_envs=4, arrays="torch", **settings):
    """Return a batch on the CPU backend of MuJoCo Warp."""
    settings = {"device": "cpu", "backend": "warp", "arrays": arrays, **settings}
    return gymnasium.make_vec(f"robossl/{name}-v0", num_envs=num_envs, **settings).unwrapped


def make_c(name, num_envs=4, **settings):
    """Return a batch of MuJoCo."""
    return gymnasium.make_vec(f"robossl/{name}-v0", num_envs=num_envs, nthread=1, **settings).unwrapped


def numbers(observation):
    """Return the observed numbers (n, D) as numpy array, without goals."""
    value = observation["observation"] if isinstance(observation, dict) else observation
    return value.numpy() if isinstance(value, torch.Tensor) else value


def follow(warp, own, steps, seed=0, segment=None):
    """Step both batches from the start of `warp` with the same random actions.

    Args:
        warp: Batch of MuJoCo Warp.
        own: Batch of MuJoCo.
        steps: Control steps.
        seed: Of the actions and of goals.
        segment: Put `own` into the state of `warp` again after that many steps; None: never.

    Returns:
        Largest differences of observations (steps, n) and of rewards (steps, n), and the ends of episodes of both, each
        (steps, n) int: 1 terminated, 2 truncated.
    """
    observation, _ = own.reset(seed=seed)
    goal = observation["desired_goal"] if isinstance(observation, dict) else None
    own.set_physics_state(warp.get_physics_state().numpy().astype(np.float64), goal=goal)
    random = np.random.default_rng(seed)
    apart, rewards, ends = [], [], ([], [])
    for step in range(steps):
        if segment and step % segment == 0:
            own.simulation.set_physics_state(warp.get_physics_state().numpy().astype(np.float64))
        action = random.uniform(-1, 1, warp.action_space.shape).astype(np.float32)
        one = warp.step(torch.from_numpy(action))
        other = own.step(action)
        apart.append(np.abs(numbers(one[0]) - numbers(other[0])).max(1))
        rewards.append(np.abs(one[1].numpy() - other[1]))
        ends[0].append(one[2].numpy() + 2 * one[3].numpy())
        ends[1].append(other[2] + 2 * other[3])
    return np.array(apart), np.array(rewards), np.array(ends[0]), np.array(ends[1])
