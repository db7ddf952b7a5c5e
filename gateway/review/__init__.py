"""Reviews: samples of the log, drawn so that anybody can check it, and closed by two people."""
