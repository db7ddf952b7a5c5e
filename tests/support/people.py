"""The synthetic people and their database, as tests use them."""

from pathlib import Path

from shuqiao.demo.people import Person, create_household_db, people

COUNT = 240
SEED = 9701


def townsfolk() -> list[Person]:
    """Return the 240 people of every test."""
    return people(COUNT, SEED)


def household_db(folder: Path) -> tuple[Path, list[Person]]:
    """Write the household register into a folder; return its path and who is in it."""
    path, persons = folder / "household.db", townsfolk()
    create_household_db(path, persons)
    return path, persons
