"""Parameters and train states on disk: ours, and those of other libraries."""
