"""Bringing rebuilt segments to the cluster: quietly or by refresh, with proof, with a stamp."""
