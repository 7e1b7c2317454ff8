"""The metadata contracts, on both databases."""

import pytest

from tests.contracts import metadata_accounts as accounts
from tests.contracts import metadata_cluster as cluster
from tests.contracts.metadata_audit import AuditContract
from tests.contracts.metadata_blobs import BlobsContract
from tests.contracts.metadata_collection import CollectionContract
from tests.contracts.metadata_conditions import ConditionsContract
from tests.contracts.metadata_descriptions import DescriptionsContract
from tests.contracts.metadata_edits import EditsContract
from tests.contracts.metadata_event_groups import EventGroupsContract
from tests.contracts.metadata_event_log import EventLogContract
from tests.contracts.metadata_event_races import EventRacesContract
from tests.contracts.metadata_events import EventsContract
from tests.contracts.metadata_hooks import HooksContract
from tests.contracts.metadata_leases import LeasesContract
from tests.contracts.metadata_lost import LostChunksContract
from tests.contracts.metadata_manifests import ManifestsContract, ReferrersContract, TagsContract
from tests.contracts.metadata_moves import LeavingContract, MovesContract
from tests.contracts.metadata_noted import NotedNumbersContract
from tests.contracts.metadata_older import OlderServersContract
from tests.contracts.metadata_organisations import OrganisationsContract
from tests.contracts.metadata_purging import PurgingContract
from tests.contracts.metadata_quotas import QuotasContract
from tests.contracts.metadata_races import RacesContract
from tests.contracts.metadata_read_only import ReadOnlyContract
from tests.contracts.metadata_repositories import RepositoriesContract
from tests.contracts.metadata_retention import RetentionContract
from tests.contracts.metadata_robots import IssuersContract, RobotsContract
from tests.contracts.metadata_rules import ImmutableContract, RulesContract
from tests.contracts.metadata_shown import ShownContract
from tests.contracts.metadata_undelete import UndeleteContract
from tests.contracts.metadata_under_replicated import UnderReplicatedContract
from tests.contracts.metadata_untagged import UntaggedContract
from tests.contracts.metadata_uploads import UploadsContract
from tests.contracts.metadata_usage import UsageContract
from tests.contracts.metadata_work import (
    CollectionsContract,
    JobsContract,
    ReferencesContract,
    WalksContract,
)
from tests.contracts.stopping import StoppingContract


@pytest.fixture(params=["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.long)])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


class TestRepositories(RepositoriesContract): ...


class TestMoves(MovesContract): ...


class TestLeaving(LeavingContract): ...


class TestDescriptions(DescriptionsContract): ...


class TestReadOnly(ReadOnlyContract): ...


class TestImmutable(ImmutableContract): ...


class TestRules(RulesContract): ...


class TestRetention(RetentionContract): ...


class TestBlobs(BlobsContract): ...


class TestCollection(CollectionContract): ...


class TestUntagged(UntaggedContract): ...


class TestUndelete(UndeleteContract): ...


class TestShown(ShownContract): ...


class TestOlderServers(OlderServersContract): ...


class TestPurging(PurgingContract): ...


class TestHooks(HooksContract): ...


class TestManifests(ManifestsContract): ...


class TestConditions(ConditionsContract): ...


class TestReferrers(ReferrersContract): ...


class TestTags(TagsContract): ...


class TestUploads(UploadsContract): ...


class TestUsage(UsageContract): ...


class TestQuotas(QuotasContract): ...


class TestUsers(accounts.UsersContract): ...


class TestOrganisations(OrganisationsContract): ...


class TestEdits(EditsContract): ...


class TestRobots(RobotsContract): ...


class TestIssuers(IssuersContract): ...


class TestAccessTokens(accounts.AccessTokensContract): ...


class TestKnownAddresses(accounts.KnownAddressesContract): ...


class TestSigningKeys(accounts.SigningKeysContract): ...


class TestGenerations(accounts.GenerationsContract): ...


class TestSettings(cluster.SettingsContract): ...


class TestNotedNumbers(NotedNumbersContract): ...


class TestPeerKeys(cluster.PeerKeysContract): ...


class TestServers(cluster.ServersContract): ...


class TestStores(cluster.StoresContract): ...


class TestLayouts(cluster.LayoutsContract): ...


class TestOldestLayout(cluster.OldestLayoutContract): ...


class TestLostChunks(LostChunksContract): ...


class TestUnderReplicated(UnderReplicatedContract): ...


class TestEvents(EventsContract): ...


class TestEventRaces(EventRacesContract): ...


class TestEventLog(EventLogContract): ...


class TestEventGroups(EventGroupsContract): ...


class TestAudit(AuditContract): ...


class TestLeases(LeasesContract): ...


class TestStopping(StoppingContract): ...


class TestWalks(WalksContract): ...


class TestJobs(JobsContract): ...


class TestReferences(ReferencesContract): ...


class TestCollections(CollectionsContract): ...


class TestDatabase(cluster.DatabaseContract): ...


class TestRaces(RacesContract): ...
