"""Training: the training loop, optimiser and schedule, checkpoints, devices, processes, signals."""
