"""From messages to token ids and the mask of what is learned: the one place for both."""
