"""Private set intersection: keys of several parties are compared, and none is shown."""
