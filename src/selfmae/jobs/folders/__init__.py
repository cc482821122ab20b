"""What goes into run folders and out of them: recipes, cases, starts, contracts, what models have seen."""
