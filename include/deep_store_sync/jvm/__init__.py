"""All that talks Java: Pinot's segment library in a child process, and the handle on it."""
