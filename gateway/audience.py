"""Who is told of a change of the region's state."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is told of an event: everybody, or the organisations named by credit code."""

    everybody: bool = False
    organisations: frozenset[str] = frozenset()

    def admits(self, organisation: str) -> bool:
        """Return whether an organisation is told."""
        return self.everybody or organisation in self.organisations


EVERYBODY = Audience(everybody=True)
NOBODY = Audience()
