"""Numbers as a person reads them."""

from __future__ import annotations


def spoken_bytes(count: int) -> str:
    """A number of bytes."""
    if count < 1000:
        return f"{count} B"
    size, units = float(count), iter(("kB", "MB", "GB", "TB", "PB", "EB"))
    while size >= 1000:
        size, unit = size / 1000, next(units)
    return f"{size:.1f} {unit}"


def spoken_seconds(seconds: float) -> str:
    """How long something takes, about: `40 s`, `12 min`, `3 h 20 min`, `2 days 4 h`."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    days, hours = divmod(hours, 24)
    return f"{days} days" + (f" {hours} h" if hours else "")


def spoken_pace(done_bytes: int, total_bytes: int, seconds: float) -> str:
    """How far work is: `1.2 GB of 4.0 GB, 20.0 MB/s, about 2 min left`. Without sizes or time, less of it."""
    said = f"{spoken_bytes(done_bytes)} of {spoken_bytes(total_bytes)}"
    if done_bytes <= 0 or seconds <= 0:
        return said
    said += f", {spoken_bytes(round(done_bytes / seconds))}/s"
    left = total_bytes - done_bytes
    return said + (f", about {spoken_seconds(seconds * left / done_bytes)} left" if left > 0 else "")
