"""The cells of runs and sweeps: which there are, and how they are carried out here or on a cluster."""
