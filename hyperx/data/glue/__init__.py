"""GLUE and SuperGLUE: records, texts, scores."""
