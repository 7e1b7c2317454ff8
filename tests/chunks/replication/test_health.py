"""Health: what is not known to be down is up."""

import pytest

from tests.chunks.faulty import ToldHealth
from tests.contracts.health import HealthContract
from treescale.chunks.replication.health import AllUp, Health


class TestAllUp(HealthContract):
    @pytest.fixture
    def health(self) -> Health:
        return AllUp()


class TestToldHealth(HealthContract):
    @pytest.fixture
    def health(self) -> Health:
        return ToldHealth()
