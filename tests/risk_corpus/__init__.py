"""Labelled synthetic traffic for the risk rules, and what they make of it; nothing in it is real."""
