"""What the operating system refused, in words: what, where, and what to do."""

from __future__ import annotations

import errno

_CHECK = "check the path"
_LET = "let this user read and write there, or name another place"
_FREE = (
    "free some space there. Segments are worked on in engine.workdir, or else in the system's folder for temporary "
    "files, which TMPDIR names"
)
_REMEDIES = {
    errno.ENOSPC: _FREE,
    errno.EDQUOT: _FREE,
    errno.EACCES: _LET,
    errno.EPERM: _LET,
    errno.EROFS: "name a place that can be written to",
    errno.ENOENT: _CHECK,
    errno.ENOTDIR: _CHECK,
    errno.EISDIR: _CHECK,
    errno.EEXIST: _CHECK,
    errno.ELOOP: _CHECK,
    errno.ENAMETOOLONG: _CHECK,
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise this machine's limit of open files",
    errno.ENOMEM: "free some memory, or lower engine.parallelSegments",
}
_OF_PATHS = frozenset(number for number, remedy in _REMEDIES.items() if remedy in (_CHECK, _LET)) | {errno.EROFS}


def system_trouble(error: OSError) -> str:
    """What is wrong, where, and the remedy."""
    paths = [str(path) for path in (error.filename, error.filename2) if path is not None]
    where = " and ".join(paths) or "this machine"
    what = error.strerror or str(error) or type(error).__name__
    return f"{where}: {what}; {_REMEDIES.get(error.errno or 0, 'the log of this machine may say more')}"


def in_words(error: Exception) -> str:
    """What an error says; one of the operating system's with where and the remedy."""
    return system_trouble(error) if isinstance(error, OSError) else str(error)


def is_wrong_path(error: OSError) -> bool:
    """Whether another path, or other permissions of it, would help: no retry does."""
    return error.errno in _OF_PATHS
