"""Measures of texts that need no judge and no model: pure functions on strings."""
