"""Experiments: what the commands do, and the training runs that `run` and `sweep` consist of."""
