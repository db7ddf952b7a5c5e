"""Risk: what the pattern of many exchanges shows that none of them shows alone."""
