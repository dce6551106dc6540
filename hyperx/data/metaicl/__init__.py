"""MetaICL: files, texts of few examples, scores."""
