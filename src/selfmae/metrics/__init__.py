"""Metrics and statistics: scores of masks and probabilities, and whether a difference is more than chance."""
