"""What a model is like: the five criteria, measured here or published elsewhere, each figure with its kind."""
