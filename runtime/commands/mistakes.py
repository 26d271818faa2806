"""What the system says of a file -> the mistake of the user that it is, for every command alike."""

from __future__ import annotations

import errno

from ..errors import UserMistake

FULL = (errno.ENOSPC, errno.EDQUOT)
NAMES = (errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ)


def mistake_of(error: BaseException) -> UserMistake | None:
    """None for what may be a bug of ours."""
    if not isinstance(error, OSError):
        return None
    if error.errno in FULL:
        return UserMistake(
            "The disk is full",
            found=str(error),
            expected="room for the bundle and a second copy of it while it is written",
            attempt="free some space, or --out on another disk; nothing half-written was left",
        )
    if isinstance(error, PermissionError):
        return UserMistake(
            "A file may not be read or written",
            found=str(error),
            expected="a path that you may use",
            attempt="check the permissions, or --out with another folder",
        )
    if error.errno in NAMES:
        return UserMistake(
            "A name cannot be that of a file",
            found=f"{error.strerror}: {str(error.filename or '')[:60]}...",
            expected="names of at most 255 bytes on most file systems",
            attempt="a shorter name",
        )
    return None
