"""Two names change places in one step that no other process, and no power cut, sees half done."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
NOT_HERE = (
    errno.ENOSYS,
    errno.EINVAL,
    errno.EOPNOTSUPP,
)  # an old kernel, or a file system that cannot: NFS, FUSE, vfat


def exchange(one: Path, other: Path) -> bool:
    """Exchange two folders or files of one file system; False, with nothing done, where the system has no such step.

    Raises OSError where it has and refuses: a name that is missing, no right, a mount point.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # glibc 2.28
    if rename is None:
        return False
    rename.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    if (code := ctypes.get_errno()) in NOT_HERE:
        return False
    raise OSError(code, os.strerror(code), str(other))
