"""The metadata contracts on PostgreSQL."""

import pytest

from tests.contracts import metadata_accounts as accounts
from tests.contracts import metadata_cluster as cluster
from tests.contracts.metadata_blobs import BlobsContract
from tests.contracts.metadata_manifests import ManifestsContract, ReferrersContract, TagsContract
from tests.contracts.metadata_owed import OwedContract
from tests.contracts.metadata_races import RacesContract
from tests.contracts.metadata_repositories import RepositoriesContract
from tests.contracts.metadata_uploads import UploadsContract


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url


class TestRepositories(RepositoriesContract): ...


class TestBlobs(BlobsContract): ...


class TestManifests(ManifestsContract): ...


class TestReferrers(ReferrersContract): ...


class TestTags(TagsContract): ...


class TestUploads(UploadsContract): ...


class TestUsers(accounts.UsersContract): ...


class TestAccessTokens(accounts.AccessTokensContract): ...


class TestSigningKeys(accounts.SigningKeysContract): ...


class TestRevocations(accounts.RevocationsContract): ...


class TestSettings(cluster.SettingsContract): ...


class TestPeerKeys(cluster.PeerKeysContract): ...


class TestServers(cluster.ServersContract): ...


class TestStores(cluster.StoresContract): ...


class TestLayouts(cluster.LayoutsContract): ...


class TestOwed(OwedContract): ...


class TestDatabase(cluster.DatabaseContract): ...


class TestRaces(RacesContract): ...
