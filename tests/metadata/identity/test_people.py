"""The contracts of people, on both databases."""

import pytest

from tests.contracts.metadata_people import PeopleContract
from tests.metadata.conftest import empty_postgres_url, postgres, postgres_url, sqlite_url

__all__ = ["empty_postgres_url", "postgres", "postgres_url", "sqlite_url"]


@pytest.fixture(params=["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.long)])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


class TestPeople(PeopleContract): ...
