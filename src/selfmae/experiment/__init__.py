"""Experiments: a file per command, and the training runs that `run` and `sweep` consist of."""
