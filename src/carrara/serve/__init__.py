"""Who answers: engines behind one protocol, the gateway in front of them, and the chat in the terminal."""
