"""How a command ends, for the script that called it."""

from __future__ import annotations

DONE = 0
"""All is done, or true."""
UNDONE = 1
"""Something is left undone, or a problem was found: the output names it."""
WRONG = 2
"""The command line, a file that it names, a table file or a connection is wrong."""
UNAVAILABLE = 3
"""The cluster, the store or Pinot's segment library did not answer as it should."""
INTERRUPTED = 130
"""Ctrl-C."""
