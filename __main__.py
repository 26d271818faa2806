"""The console command ``edgesmith``, also ``python -m edgesmith``: the full one, or the device's where that is all there is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec


def main() -> None:
    """``edgesmith ...``; never returns."""
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until somebody is there who can tell it without a traceback
    from edgesmith.runtime.commands.streams import hold_streams
    from edgesmith.runtime.ground import signals

    hold_streams()
    try:
        with signals.stopping_like_interrupt():
            _main()
    except KeyboardInterrupt:  # while it is still importing; from then on each command tells it itself
        sys.exit(signals.tell())


def _main() -> None:
    if not (find_spec("typer") and find_spec("rich")):
        from edgesmith.runtime.commands import cli as device

        device.main()
    words = sys.argv[1:]
    if action := _plain(words):
        from edgesmith.exporter.commands import usage

        usage.finish(action, words)
    from edgesmith.exporter.commands import cli

    cli.main()


def _plain(words: list[str]) -> Callable[[], object] | None:
    """What needs no parser, which takes longer to import than these take to run; None for everything else."""
    if "_EDGESMITH_COMPLETE" in os.environ:  # a shell asks what may come next
        return None
    if words in (["list"], ["list", "--json"]):
        from edgesmith.exporter.commands.listing import show

        return lambda: show(as_json="--json" in words)
    if words[:1] == ["run"]:
        from edgesmith.runtime.commands.words import plain_run

        if asked := plain_run(words[1:]):
            from edgesmith.runtime.commands.run import run

            return lambda: run(asked)
    return None


if __name__ == "__main__":
    main()
