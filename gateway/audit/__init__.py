"""The audit log: entries, the one sequencer that writes them, proofs, and offline verification."""
