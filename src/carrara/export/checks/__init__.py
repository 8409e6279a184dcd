"""What a passport compares: tokens, settings, weights and answers of two models, each in a file of its own."""
