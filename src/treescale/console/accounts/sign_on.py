"""`/sign-on`: the providers that people sign on with, for administrators."""

from datetime import UTC, datetime

import msgspec

from treescale.clock import Clock
from treescale.console.route import Answered, Asked, check_fresh
from treescale.metadata.database import Database
from treescale.metadata.identity.providers import Provider, Providers
from treescale.metadata.identity.terms import AUTO, GroupRole, Terms
from treescale.registry.naming.nearest import check_organisation
from treescale.registry.people.providers import checked
from treescale.registry.people.sign_on import redirect_uri


class ProviderGroup(msgspec.Struct, forbid_unknown_fields=True):
    """A role in an organisation for whoever is in a group of the provider."""

    group: str
    organisation: str
    role: str


class NewProvider(msgspec.Struct, forbid_unknown_fields=True):
    """A provider (OpenID Connect), and whom it lets in."""

    name: str
    """What people see: Sign in with NAME."""
    issuer: str
    client_id: str
    client_secret: str | None = None
    domains: list[str] = []
    """Of verified e-mail addresses; any without one."""
    groups_claim: str = "groups"
    groups: list[ProviderGroup] = []
    required_groups: list[str] = []
    """Whoever is in none of them is let in no more."""
    create: str = AUTO
    """`auto`: who is new gets an account; `invite`: who was invited."""
    scopes: list[str] = msgspec.field(default_factory=lambda: [*Terms().scopes])


class ProviderRow(msgspec.Struct):
    """A provider, without its client's secret; times are of UTC."""

    name: str
    issuer: str
    client_id: str
    has_secret: bool
    domains: list[str]
    groups_claim: str
    groups: list[ProviderGroup]
    required_groups: list[str]
    create: str
    scopes: list[str]
    created: datetime
    redirect_uri: str | None
    """What the provider has to allow; None where `public_url` is not set."""


class ProviderList(msgspec.Struct):
    """All of them, by name: there are few."""

    providers: list[ProviderRow]


class SignOnDesk:
    """What answers for providers."""

    def __init__(self, database: Database, clock: Clock, public_url: str) -> None:
        self._database = database
        self._providers = Providers(database.connections)
        self._clock = clock
        self._public_url = public_url

    async def list(self, asked: Asked) -> Answered:
        """List them."""
        del asked
        return Answered(ProviderList([self._row(one) for one in await self._providers.list()]))

    async def show(self, asked: Asked) -> Answered:
        """Show one."""
        return Answered(self._row(await self._providers.get(asked.parameters["provider"])))

    async def add(self, asked: Asked) -> Answered:
        """Add one: it says who somebody is, so that it takes a password."""
        check_fresh(asked)
        wanted: NewProvider = asked.body
        terms = Terms(
            domains=tuple(wanted.domains),
            groups_claim=wanted.groups_claim,
            groups=tuple(GroupRole(one.group, one.organisation, one.role) for one in wanted.groups),
            required_groups=tuple(wanted.required_groups),
            create=wanted.create,
            scopes=tuple(wanted.scopes),
        )
        provider = Provider(
            wanted.name,
            wanted.issuer,
            wanted.client_id,
            wanted.client_secret,
            terms,
            self._clock.now(),
        )
        checked(provider)
        for one in terms.groups:
            await check_organisation(self._database, one.organisation)
        await self._providers.add(provider, actor=asked.principal.user)
        return Answered(self._row(provider))

    async def remove(self, asked: Asked) -> Answered:
        """Have nobody come by it any more."""
        found = await self._providers.get(asked.parameters["provider"])
        await self._providers.remove(found.name, actor=asked.principal.user)
        return Answered(self._row(found))

    def _row(self, one: Provider) -> ProviderRow:
        terms = one.terms
        return ProviderRow(
            name=one.name,
            issuer=one.issuer,
            client_id=one.client_id,
            has_secret=one.client_secret is not None,
            domains=[*terms.domains],
            groups_claim=terms.groups_claim,
            groups=[
                ProviderGroup(each.group, each.organisation, each.role) for each in terms.groups
            ],
            required_groups=[*terms.required_groups],
            create=terms.create,
            scopes=[*terms.scopes],
            created=datetime.fromtimestamp(int(one.created), UTC),
            redirect_uri=redirect_uri(self._public_url, one.name) if self._public_url else None,
        )
