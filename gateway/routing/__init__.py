"""Where exchanges go: the links of agents."""
