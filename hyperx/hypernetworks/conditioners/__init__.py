"""What reads a condition: modules `(tokens, backbone) -> code`."""
