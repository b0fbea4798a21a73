"""Statistics: every number with its interval, its convention and its reason when it is undefined."""
