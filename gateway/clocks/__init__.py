"""Clocks: until when somebody has to act, in working days, and who is told when it was not done."""
