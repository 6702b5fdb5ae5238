"""Reference controllers, which show how much more return a task offers than zero and random actions earn.

A reference is a scripted controller or a search in the true simulator. It may read the full simulator state, so it is
no baseline for learned agents. Each module of this folder may define

    REFERENCES = {"CartPoleSwingUp": factory, ...}

where `factory(envs)` takes the native vector env and returns a `Controller` (`episodes.py`).
"""
