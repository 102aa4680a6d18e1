"""Triggers: how it waits without a worker slot."""
