"""P3: prompts of T0 in files, or rendered from templates of promptsource."""
