"""C4: documents, and how they are cut for hyperpretraining."""
