"""Data: cases and their parts by patient; folders lead from files as people have them to random samples."""
