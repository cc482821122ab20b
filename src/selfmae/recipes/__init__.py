"""Recipes that come with SelfMAE: one YAML file each, with the source or reason of every value."""
