"""What both sides of an exchange must compute identically, bit for bit."""
