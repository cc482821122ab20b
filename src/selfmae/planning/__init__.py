"""Planning: recipe values from the data and the machine; forecasts of memory, disk space and time."""
