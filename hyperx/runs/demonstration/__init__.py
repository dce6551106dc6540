"""The demo: its parts, and how they are shown."""
