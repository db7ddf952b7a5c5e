"""The demonstrations: synthetic departments, and the scenarios they play."""
