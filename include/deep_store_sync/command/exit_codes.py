"""How a command ends, for the script that called it. Of several tables, the highest code counts."""

from __future__ import annotations

from deep_store_sync.errors import ConfigError, SegmentError
from deep_store_sync.system_trouble import is_wrong_path

DONE = 0
"""All is done, or true."""
UNDONE = 1
"""Something is left undone, or a problem was found: the output names it."""
WRONG = 2
"""The command line, a table file, a connection, or a file or folder that a command needs is wrong."""
UNAVAILABLE = 3
"""The cluster, the store, Pinot's segment library or this machine did not do what it should."""
INTERRUPTED = 130
"""Ctrl-C."""
NO_READER = 141
"""Nobody reads the output any more, as after `| head`: what a shell makes of SIGPIPE."""


def code_of(error: Exception) -> int:
    """The code of what ends in an error."""
    if isinstance(error, ConfigError) or (isinstance(error, OSError) and is_wrong_path(error)):
        return WRONG
    return UNDONE if isinstance(error, SegmentError) else UNAVAILABLE
