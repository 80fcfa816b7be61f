"""Secret: data that is not shown."""
