"""How a model leaves: merged weights, GGUF files, and the passport that says that it is the model that was scored."""
