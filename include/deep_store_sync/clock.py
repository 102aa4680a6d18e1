"""The clock of the machine that this runs on: for names and for people, never for a decision.

Workers, controller, servers and store each have a clock of their own, and no two of them need agree. What has an age is
held against the clock that dated it: an operation in Pinot against the controller's, a run's leavings against the
store's. Waiting is measured as time that passed (`time.monotonic`).
"""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The time here, in UTC."""
    return datetime.now(UTC)
