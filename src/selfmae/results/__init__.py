"""What a verdict compares: evaluated models, their rows by start and seed, subgroups, a sweep's results."""
