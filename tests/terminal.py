"""A command on a terminal, as a person has it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 160, 40


def on_terminal(command: Sequence[str], environment: Mapping[str, str], *, timeout_s: float = 300) -> tuple[int, str]:
    """Exit code, and all that the terminal was sent: standard output and standard error as they come."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    process = subprocess.Popen(command, env=dict(environment), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    sent = bytearray()
    try:
        while True:
            try:
                data = os.read(ours, 1 << 16)
            except OSError:  # the last one who had it open is gone
                break
            if not data:
                break
            sent += data
        return process.wait(timeout_s), sent.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
