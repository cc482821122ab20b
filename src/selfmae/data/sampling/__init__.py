"""Sampling: the stream of training batches, and random views of prepared images."""
