"""Built-in recipes: one YAML file each, with the source or reason of every value."""
