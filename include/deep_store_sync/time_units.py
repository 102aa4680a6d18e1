"""The units that Pinot gives a segment's time range in."""

from __future__ import annotations

UNIT_NS = {
    "NANOSECONDS": 1,
    "MICROSECONDS": 1_000,
    "MILLISECONDS": 1_000_000,
    "SECONDS": 1_000_000_000,
    "MINUTES": 60_000_000_000,
    "HOURS": 3_600_000_000_000,
    "DAYS": 86_400_000_000_000,
}
"""java.util.concurrent.TimeUnit, in nanoseconds."""
