"""Data: from files as users have them to training samples; cases, patients, splits and folds."""
