"""Ids of the envs that the compatibility tests check."""

from __future__ import annotations

import robossl.envs
from gymnasium import registry
from robossl.envs.engine.registration import resolve_task
from robossl.envs.engine.task import GoalTask

IDS = robossl.envs.register()
GOALS = [i for i in IDS if isinstance(resolve_task(registry[i].kwargs["task"]), GoalTask)]
PLAIN = [i for i in IDS if i not in GOALS]
