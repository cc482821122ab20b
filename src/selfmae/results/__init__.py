"""What a verdict compares: evaluated models, their rows by initialization and seed, subgroups, a sweep's results."""
