"""What a plan decides and forecasts: sizes, lengths, memory, disk and time."""
