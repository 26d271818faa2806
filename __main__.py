"""``python -m edgesmith`` is the console command ``edgesmith``."""

from edgesmith.exporter.cli import main

if __name__ == "__main__":
    main()
