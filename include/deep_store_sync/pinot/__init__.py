"""What talks to Pinot: the controller's REST API, and the servers' admin ports."""
