"""Published methods: one short file each, a composition and its defaults."""
