"""Operators: the steps of a run. Each builds its clients, calls the core, and hands on an object URL."""
