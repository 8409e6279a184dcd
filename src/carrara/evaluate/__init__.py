"""What it can do: tasks, protocols, the scorer and its records."""
