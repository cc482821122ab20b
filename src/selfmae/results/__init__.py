"""Results: run folders and training runs, exposure and leaks, the verdict, subgroups, sweeps."""
