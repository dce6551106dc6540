"""What training asks for beside the next token: terms that are added to its loss."""
