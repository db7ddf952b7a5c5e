"""All but the tests of the process itself have their authority in this process."""

from collections.abc import Iterator

import pytest

from tests.support.running_authority import cheap_derivations


@pytest.fixture(autouse=True)
def cheap(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.path.name == "test_authority_process.py":
        yield
        return
    with cheap_derivations():
        yield
