"""The built-in plugins: a folder each, found by its `plugin.toml`, imported when a board first uses it."""
