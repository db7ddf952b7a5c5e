"""A small witness: cosigns heads of logs that only grow, for sites that have no other (C2SP tlog-witness)."""
