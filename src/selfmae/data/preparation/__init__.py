"""Preparation: each image resampled and normalised once, and stored on disk."""
