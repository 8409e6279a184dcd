"""The checks of prepared data: one file, or one folder, for each."""
