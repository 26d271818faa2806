"""The version, in the lowest room, so that a bundle can carry it without looking up the stairs."""

__version__ = "0.1.0"
