"""From rows to a dataset: the stage, its worker processes, and what needs all rows together."""
