"""What every Health promises. A subclass brings one fixture, `health`."""

from treescale.chunks.replication.health import Health


class HealthContract:
    """The promise."""

    def test_a_store_nobody_has_heard_of_is_not_known_to_be_down(self, health: Health) -> None:
        assert health.is_up("never heard of")

    def test_any_store_may_be_asked_about(self, health: Health) -> None:
        for store_id in ("", "never heard of", "ü" * 1000):
            assert isinstance(health.is_up(store_id), bool)
            assert isinstance(health.is_local(store_id), bool)
