"""Preparation: each image resampled and normalised once, and kept on disk."""
