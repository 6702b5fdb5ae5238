"""`watch --viewer`: recorded episodes in a window, new ones first, until the window is closed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from cli_runner import fail

import robossl
from robossl import registry
from robossl.core.errors import UsageError, WindowClosedError
from robossl.watch import recorded_physics, viewer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded") / "s"
    robossl.collect("robossl/Reacher-v0", "random", 400, folder, num_envs=2, threads=1).close()
    return folder


@pytest.fixture
def window(monkeypatch):
    """A window without a display; `shown` has its states, and `closes` the number after which it is closed."""
    window = SimpleNamespace(shown=[], closes=None)

    def make(env, mode, **settings):
        assert mode == "human"
        envs = registry.make_envs(env, 1, **settings)

        def render():
            if len(window.shown) == window.closes:
                raise WindowClosedError("the window was closed")
            window.shown.append(envs.unwrapped.get_physics_state()[0])

        envs.render = render
        return envs

    monkeypatch.setattr(recorded_physics, "make_render_env", make)
    monkeypatch.setattr(viewer.time, "sleep", lambda seconds: None)
    return window


def test_states_in_the_window_are_those_that_were_recorded_the_newest_episode_first(folder, window):
    assert viewer.show_episodes(folder, 2) == 2
    stream = robossl.load(folder)
    newest = sorted(stream.episodes(), key=lambda episode: -episode.ordinal)
    recorded = [stream.read(e.lane, e.start, e.stop, ["physics"])["physics"] for e in newest if e.ended][:2]
    assert len(window.shown) == sum(map(len, recorded)) > 100
    assert (window.shown[0] == recorded[0][0]).all()
    assert (window.shown[-1] == recorded[1][-1]).all()


def test_closing_the_window_ends_it(folder, window):
    window.closes = 30
    assert viewer.show_episodes(folder) == 0
    assert len(window.shown) == 30


def test_new_episode_is_next_and_old_ones_are_repeated():
    episodes = [SimpleNamespace(ordinal=i, ended=True) for i in range(20)]
    stream = SimpleNamespace(refresh=lambda: None, episodes=lambda: episodes, path="s")
    shown = []
    for _ in range(12):
        shown.append(viewer._next_episode(stream, shown).ordinal)
    assert shown == [19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 19, 18]
    episodes.append(SimpleNamespace(ordinal=20, ended=True))
    assert viewer._next_episode(stream, shown).ordinal == 20


def test_without_physics_or_episodes_it_is_refused_in_one_line(tmp_path):
    robossl.collect("CartPole-v1", "random", 60, tmp_path / "s", num_envs=2, threads=1).close()
    with pytest.raises(UsageError, match="neither images nor physics"):
        viewer.show_episodes(tmp_path / "s")
    with pytest.raises(UsageError, match="no folder"):
        viewer.show_episodes(tmp_path / "nothing")


def test_window_without_a_display_and_a_page_beside_it_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "no display" in fail(tmp_path, "watch", folder, "--viewer", code=1)
    assert "got both" in fail(tmp_path, "watch", folder, "--viewer", "--open")
