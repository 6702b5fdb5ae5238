"""The commands `watch` and `stream view`: pages on this machine."""

from __future__ import annotations

import contextlib
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from robossl.cli.command import Command, CommandResult, add_flags, count, trust_env
from robossl.core.errors import UsageError

if TYPE_CHECKING:
    from robossl.watch.server import PageServer


_WAIT = 20  # [s] for a run that was started just before


def _add_page_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--port", type=count(0), default=0, metavar="N", help="port; 0: a free one (0)")
    parser.add_argument("--open", action="store_true", help="also open the page in a browser")


def _add_watch_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run, agent, model or study folder, running or finished")
    parser.add_argument(
        "--viewer",
        action="store_true",
        help="instead show its recorded episodes in MuJoCo's viewer, a window",
    )
    _add_page_flags(parser)


def _watch(options: Namespace) -> CommandResult:
    if options.viewer:
        return _view_episodes(options)
    from robossl.watch.run_source import RunSource, is_pending, wait_for_run
    from robossl.watch.server import PageServer

    if is_pending(options.run):
        print(f"waiting up to {_WAIT} s for {options.run}", file=sys.stderr, flush=True)
        wait_for_run(options.run, _WAIT)
    source = RunSource(options.run)
    return _serve(PageServer(source.routes(), options.port), options.open)


def _view_episodes(options: Namespace) -> CommandResult:
    """Show recorded episodes until the window is closed or Ctrl-C, which are the ways to end it and no failure."""
    if options.open or options.port:
        raise UsageError("expected --viewer, or a page with --open and --port, got both")
    from robossl.watch.viewer import show_episodes

    with contextlib.suppress(KeyboardInterrupt):
        shown = show_episodes(options.run)
        return CommandResult(f"{shown:,} episodes in the viewer")
    return CommandResult()


def _add_view_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("stream", help="a stream folder")
    parser.add_argument(
        "--env", metavar="ENV", help="env that renders the recorded physics (the recorded one)"
    )
    _add_page_flags(parser)
    add_flags(parser, "trust-env")


def _view(options: Namespace) -> CommandResult:
    from robossl.watch.server import PageServer
    from robossl.watch.stream_source import StreamSource

    trust_env(options.env)
    trust_env(options.trust_env, package=True)
    source = StreamSource(options.stream, options.env)
    try:
        return _serve(PageServer(source.routes(), options.port), options.open)
    finally:
        source.close()


def _serve(server: PageServer, open_browser: bool) -> CommandResult:
    """Print the address and serve until Ctrl-C, which is the way to end a page and no failure."""
    print(server.url, flush=True)
    print("only this machine can open it; Ctrl-C ends it", file=sys.stderr, flush=True)
    if open_browser:
        import webbrowser

        webbrowser.open(server.url)
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
    return CommandResult()


COMMANDS = [
    Command(
        "watch",
        "follow a run on a page in the browser: curves, video, diagnostics, log",
        "robossl watch runs/reacher --open",
        _add_watch_arguments,
        _watch,
    ),
    Command(
        "stream view",
        "show the episodes of a stream as video with curves in the browser",
        "robossl stream view streams/reacher --open",
        _add_view_arguments,
        _view,
    ),
]
