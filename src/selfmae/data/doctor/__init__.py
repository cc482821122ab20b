"""The data doctor and the survey that it rests on: one look at every file, and what is wrong with the set."""
