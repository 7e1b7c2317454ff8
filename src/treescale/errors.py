"""Every error TreeScale raises on purpose, as one tree; the API maps it to HTTP in one place.

TreeScaleError
├── Refused                  the caller is wrong; the message says what to do
│   ├── NameInvalid          not a repository name
│   │   └── NamespaceMissing a good name elsewhere, but here it lacks its user
│   ├── TagInvalid           not a tag
│   ├── DigestInvalid        not a digest, or the bytes do not have it
│   ├── SizeInvalid          a length that contradicts the body
│   ├── RangeInvalid         a byte range nothing can satisfy
│   │   └── UploadOutOfOrder the upload continues somewhere else
│   ├── ManifestInvalid      not a manifest we can keep
│   ├── ManifestBlobUnknown  the manifest refers to something never pushed here
│   ├── PreconditionFailed   a condition of the request that does not hold
│   ├── PageInvalid          a page size that is not a number
│   ├── RequestInvalid       the request cannot be understood
│   │   ├── FieldInvalid     a field of a body is wrong; carries its name
│   │   │   └── ParameterInvalid  a parameter of the query is
│   │   └── BodyIncomplete   the client left before its body was whole
│   │       └── BodyTooSlow  it did not leave, but sends next to nothing
│   ├── TooLarge             a body over its limit
│   ├── MediaTypeUnsupported a body in a form we do not read
│   ├── NameUnknown, BlobUnknown, ManifestUnknown, UploadUnknown
│   ├── Forbidden            somebody is known, and may not do this
│   │   └── PasswordNeeded   with a password they may: a secret is to be made
│   ├── AddressForbidden     a URL that must not be asked from here
│   ├── ReadOnly             a namespace or repository is to stay as it is
│   │   └── ReadOnlyCluster  all of the registry is, for a while
│   ├── OverLimit            a namespace would have more than it may
│   │   └── QuotaExceeded    more bytes; carries how many there are
│   ├── TagImmutable         a rule has a tag stay as it is
│   ├── RuleUnknown
│   ├── AlreadyThere         what is to be made is there; carries its id
│   │   ├── RuleExists
│   │   └── UserExists       the name is taken
│   │       └── RobotExists
│   ├── PlanChanged          what was confirmed is not what would be done now
│   ├── UserUnknown, TokenUnknown                (administration)
│   ├── NamespaceUnknown     nobody has that name
│   ├── RobotUnknown, IssuerUnknown              (administration)
│   ├── IssuerKeysInvalid    what an issuer signs with cannot be read
│   ├── LastOwner            an organisation would have no owner
│   ├── LastAdministrator    nobody could administrate any more
│   ├── LinkUnknown          a one-time link that was used, is over, or never was
│   ├── SessionUnknown, IdentityUnknown, ProviderUnknown    (people)
│   ├── SignOnRefused        what a provider says of somebody lets nobody in
│   ├── ServerUnknown, StoreUnknown              (administration)
│   ├── HookUnknown          no such webhook, or delivery of one
│   ├── LastCopies           forgetting a store would lose what lies nowhere else
│   ├── CredentialsInvalid   wrong name, password or token
│   │   └── IdTokenInvalid   an ID token of somebody else that is not taken
│   ├── PasswordInvalid      a password too short, too long or too well known to be set
│   ├── Unauthorized         rights are missing; carries what was needed
│   ├── TooMany              over a limit on requests; carries when to try again
│   ├── Unsupported          an operation this registry does not offer
│   ├── BackupInvalid        a backup that is cut short, altered, of a newer version, or no backup
│   └── SettingInvalid       a flag, variable or file that cannot be used
└── Failed                   we, or the world, are wrong
    ├── ChunkUnknown         the store has no such chunk
    ├── ChunksLost           chunks that no store had, as was found; look before building on them
    ├── Corrupt              the bytes are not what their name says; never returned as data
    ├── StoreFull            no room left under the reserve
    ├── StoreUnusable        a store that must not be used: foreign, read-only, suspect
    │   └── StoreSilent      its disk hangs; it is asked again by itself
    ├── NotEnoughStores      fewer stores than an acknowledgement needs
    ├── ServerForgotten      this server is no part of its cluster any more
    ├── Unreachable          another server did not answer
    ├── OutboundFailed       what a URL leads to gave no whole answer within the limits
    ├── IssuerAway           the keys of an issuer of ID tokens cannot be had now
    ├── BeingPurged          a push has what is being taken away for good at this moment
    ├── NotRecorded          a push stood still for longer than what it has put is kept for it
    └── DatabaseUnavailable  the database did not answer
"""

from enum import StrEnum


class TreeScaleError(Exception):
    """Any error of this project. The text is for people and says what to do."""


class Refused(TreeScaleError):
    """The caller is wrong; trying again unchanged will fail again."""


class NameInvalid(Refused):
    """A repository or user name that breaks the rules (OCI Distribution, Pulling manifests)."""


class NamespaceMissing(NameInvalid):
    """A repository name without a user's name before it: nobody may have one here."""


class TagInvalid(Refused):
    """A tag that breaks the rules."""


class DigestInvalid(Refused):
    """A malformed digest, or content that does not have the digest it was announced with."""


class SizeInvalid(Refused):
    """A length that contradicts the body."""


class RangeInvalid(Refused):
    """A range that cannot be satisfied; `size` is the whole length in bytes, when known."""

    def __init__(self, message: str, *, size: int | None = None) -> None:
        super().__init__(message)
        self.size = size


class UploadOutOfOrder(RangeInvalid):
    """The upload has `offset` bytes and continues there; the session survives."""

    def __init__(self, message: str, *, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class ManifestInvalid(Refused):
    """A manifest that is not JSON of a kind we keep, or that two readers would read differently."""


class ManifestBlobUnknown(Refused):
    """A manifest that names content which was never pushed to its repository."""


class PreconditionFailed(Refused):
    """What is there now is not what the request was made for (RFC 9110, 13.1)."""


class PageInvalid(Refused):
    """A page size (`n`) that is not a number."""


class RequestInvalid(Refused):
    """A request that cannot be understood."""


class FieldInvalid(RequestInvalid):
    """A field of a body that cannot be taken; "" is the body itself."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class ParameterInvalid(FieldInvalid):
    """A parameter of a query that cannot be taken; `field` is its name."""


class BodyIncomplete(RequestInvalid):
    """The client left, or broke the protocol, before its body was whole."""


class BodyTooSlow(BodyIncomplete):
    """The client takes far too long over its body."""


class TooLarge(Refused):
    """A body over the limit of its route."""


class MediaTypeUnsupported(Refused):
    """A body in an encoding or form that is not read here."""


class NameUnknown(Refused):
    """No such repository."""


class BlobUnknown(Refused):
    """No such blob in this repository."""


class ManifestUnknown(Refused):
    """No such manifest or tag in this repository."""


class UploadUnknown(Refused):
    """No such upload, or it is somebody else's."""


class Forbidden(Refused):
    """Somebody who is known, and may not do this: another login would be needed."""


class PasswordNeeded(Forbidden):
    """What an access token is not enough for, as a secret is to be made."""


class AddressForbidden(Refused):
    """A URL that leads where nothing may be asked: to the server itself, or a private network."""


class ReadOnly(Refused):
    """A namespace, or a repository, is read-only: an administrator has said so."""


class ReadOnlyCluster(ReadOnly):
    """All of the registry is read-only, for as long as an upgrade or a move takes."""


class OverLimit(Refused):
    """A namespace would have more of something than an administrator has said."""


class QuotaExceeded(OverLimit):
    """A namespace would have more bytes than its quota.

    `namespace_id` says which, whose name may change; `used` and `quota` are bytes, and `needed` is
    what is asked for beyond `used`: 0 when that is not known, and none are left.
    """

    def __init__(
        self, message: str, *, namespace_id: int, used: int, quota: int, needed: int
    ) -> None:
        super().__init__(message)
        self.namespace_id = namespace_id
        self.used = used
        self.quota = quota
        self.needed = needed


class TagImmutable(Refused):
    """A tag that a rule has stay where it points; the text names the rule, and whose it is."""


class RuleUnknown(Refused):
    """No such rule there."""


class AlreadyThere(Refused):
    """What is to be made is there; `known` is its id, if the caller may know that."""

    def __init__(self, message: str, *, known: str) -> None:
        super().__init__(message)
        self.known = known


class RuleExists(AlreadyThere):
    """There is a rule that says the same."""


class PlanChanged(Refused):
    """What somebody has confirmed is not what would be done by now: look again."""


class UserUnknown(Refused):
    """No such user."""


class UserExists(AlreadyThere):
    """The name is taken."""


class NamespaceUnknown(Refused):
    """Neither an organisation nor a user has the name, or the caller may not see it."""


class RobotUnknown(UserUnknown):
    """No such robot, trust rule or secret of one, or the caller may not see it."""


class RobotExists(UserExists):
    """The namespace has a robot of that name."""


class IssuerUnknown(UserUnknown):
    """No such issuer of ID tokens is trusted here."""


class IssuerKeysInvalid(Refused):
    """No JWK set, or one without a key that is taken."""


class LastOwner(Refused):
    """An organisation would be without an owner: nobody could change it any more."""


class LastAdministrator(Refused):
    """No administrator would be left who can log in with a password."""


class LinkUnknown(Refused):
    """A one-time link that was used, is over, or never was: it is not said which."""


class SessionUnknown(Refused):
    """No such session of this user."""


class IdentityUnknown(Refused):
    """No such identity of this user."""


class ProviderUnknown(Refused):
    """No provider of sign-on has the name."""


class SignOnRefused(Refused):
    """A sign-on that lets nobody in; the text is for who tried, and repeats nothing secret."""


class TokenUnknown(Refused):
    """No such access token."""


class ServerUnknown(Refused):
    """No such server in the cluster: it was never there, or has been forgotten."""


class StoreUnknown(Refused):
    """No such store in the cluster: it was never there, or has been forgotten."""


class HookUnknown(Refused):
    """No such webhook, or delivery of one, that the caller may see."""


class LastCopies(Refused):
    """A store that has, as far as anybody can tell, the only copies of something."""


class CredentialsInvalid(Refused):
    """The name, password or token is wrong; which of them is not said."""


class IdTokenInvalid(CredentialsInvalid):
    """An ID token that is not taken; the text says why, and nothing of what the token says."""


class PasswordInvalid(Refused):
    """A new password that is too short, too long, or among the first that are guessed."""


class Unauthorized(Refused):
    """Rights are missing. `scope` is what was needed, in the token protocol's words."""

    def __init__(self, message: str, *, scope: str = "", error: str = "") -> None:
        super().__init__(message)
        self.scope = scope
        self.error = error


class TooMany(Refused):
    """Too many requests; try again after `retry_seconds`."""

    def __init__(self, message: str, *, retry_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class Unsupported(Refused):
    """An operation this registry does not offer; `allowed` are the methods there are instead."""

    def __init__(self, message: str, *, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.allowed = allowed


class BackupInvalid(Refused):
    """What is to be restored is no whole backup, or this version cannot read it."""


class SettingInvalid(Refused):
    """A setting that cannot be used; the message names it and its source."""


class Failed(TreeScaleError):
    """We, or the world around us, are wrong; trying again later may work."""


class ChunkUnknown(Failed):
    """The store does not hold this chunk."""


class ChunksLost(Failed):
    """Chunks of which no store had a good copy when somebody looked; `chunks` are their ids."""

    def __init__(self, message: str, *, chunks: tuple[bytes, ...]) -> None:
        super().__init__(message)
        self.chunks = chunks


class Corrupt(Failed):
    """Bytes that are not what their name says. Never returned as data; starts a repair."""


class StoreFull(Failed):
    """Writing would eat into the store's reserve of bytes or inodes."""


class StoreUnusable(Failed):
    """A store that must not be used: missing or foreign `store.json`, read-only, or suspect."""


class StoreSilent(StoreUnusable):
    """A store whose disk does not answer in time; it is passed over until it does."""


class NotEnoughStores(Failed):
    """Fewer usable stores than an acknowledgement needs."""


class ServerForgotten(Failed):
    """The cluster has forgotten this server while it ran; it has to be started again."""


class Unreachable(Failed):
    """Another server did not answer."""


class OutboundFailed(Failed):
    """No whole answer came within the limits. The text names the host and no secret."""


class IssuerAway(Failed):
    """The keys of an issuer of ID tokens cannot be had now. The text names the issuer's host."""


class DatabaseTrouble(StrEnum):
    """Why the database cannot be used: plain words, without names or places."""

    SILENT = "the database does not answer"
    REFUSED = "the database refuses this server"
    BUSY = "the database is locked, or has too much to do"
    READ_ONLY = "the database cannot be written"
    FULL = "the database's disk is full"
    FAILING = "the database's disk fails"
    DAMAGED = "the database is damaged"
    MOVED = "the database file is gone, or another one is in its place"
    SCHEMA = "the database has not the tables of this version"


class NotRecorded(Failed):
    """What a push has put is in no row, and was put too long ago to be named by one now.

    Nothing changed. The push goes on from what was recorded, or begins again.
    """


class BeingPurged(Failed):
    """A push names chunks that every store is unlinking just now: they cannot be counted on."""


class DatabaseUnavailable(Failed):
    """The database did not answer, or cannot be used; `trouble` says why."""

    def __init__(self, message: str, trouble: DatabaseTrouble = DatabaseTrouble.SILENT) -> None:
        super().__init__(message)
        self.trouble = trouble
