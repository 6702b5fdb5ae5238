"""What each task is worth: doing nothing, acting at random, and a reference that may look at everything.

A reference is a scripted controller or a search over the true simulator. It is no learner and no rival to one; it
says how much there is to be had, so that a return can be read. One file a body, found by its name here:

    REFERENCES = {"CartPoleSwingUp": make_controller, ...}

where `make_controller(envs)` takes the native vector env and gives a `Controller`.
"""
