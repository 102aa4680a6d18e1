"""What is known of a table from the workspace alone: how its segments stand, its runs, and the one that is at work."""
