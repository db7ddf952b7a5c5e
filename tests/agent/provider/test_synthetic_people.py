import sqlite3

import pytest

from exchange.codes import citizen_id
from shuqiao.demo.people import check_character, create_household_db, people
from tests.support.people import household_db, townsfolk


def test_every_synthetic_citizen_id_is_valid_and_in_a_division_that_exists_nowhere():
    persons = townsfolk()
    assert len(persons) == 240
    for person in persons:
        assert citizen_id(person.citizen_id) == person.citizen_id
        assert person.citizen_id[:2] in ("97", "98")
        assert person.citizen_id[6:14] == f"{person.birth_date:%Y%m%d}"
        assert (int(person.citizen_id[16]) % 2 == 1) == (person.sex == "男")


def test_the_same_seed_gives_the_same_people_and_another_seed_others():
    assert people(50, 1) == people(50, 1)
    assert people(50, 1) != people(50, 2)


def test_no_two_people_share_a_citizen_id():
    assert len({person.citizen_id for person in people(2000, 3)}) == 2000


def test_members_of_a_household_share_address_and_number():
    homes: dict[str, set[str]] = {}
    for person in townsfolk():
        homes.setdefault(person.household_no, set()).add(person.address)
    assert all(len(addresses) == 1 for addresses in homes.values())


@pytest.mark.parametrize("whole", ["970102199001010011", "980301202508150022"])
def test_the_check_character_is_that_of_the_published_examples(whole):
    assert check_character(whole[:17]) == whole[17]


def test_the_database_holds_everybody_and_is_never_overwritten(tmp_path):
    path, persons = household_db(tmp_path)
    assert sqlite3.connect(path).execute("SELECT count(*) FROM household").fetchone() == (240,)
    with pytest.raises(FileExistsError):
        create_household_db(path, persons)
