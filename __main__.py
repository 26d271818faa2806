"""The console command ``edgesmith``, also ``python -m edgesmith``: the full one, or the device's where that is all there is."""

from __future__ import annotations

from importlib.util import find_spec


def main() -> None:
    """``edgesmith ...``; never returns."""
    if find_spec("typer") and find_spec("rich"):
        from edgesmith.exporter.commands import cli

        cli.main()
    else:
        from edgesmith.runtime.commands import cli as device

        device.main()


if __name__ == "__main__":
    main()
