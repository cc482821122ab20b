"""Metrics and statistics: scores of masks and probabilities, paired comparisons, power."""
