"""Training: the one loop, its optimiser and schedule, checkpoints, devices and signals."""
