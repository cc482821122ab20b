"""Jobs: a file is a command, which builds objects in sequence and writes run folders; folders hold what they share."""
