"""Weights: files with metadata, formats of other tools, adaptation to a network, exports."""
