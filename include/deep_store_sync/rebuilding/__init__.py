"""The rebuild step: how a segment is to be rebuilt, one segment on its way, and the pipeline of a batch."""
