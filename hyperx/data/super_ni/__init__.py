"""Super-NaturalInstructions: files, texts made of them, the copy on the hub."""
