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
│   ├── PageInvalid          a page size that is not a number
│   ├── RequestInvalid       the request cannot be understood
│   │   └── BodyIncomplete   the client left before its body was whole
│   │       └── BodyTooSlow  it did not leave, but sends next to nothing
│   ├── TooLarge             a body over its limit
│   ├── MediaTypeUnsupported a body in a form we do not read
│   ├── NameUnknown, BlobUnknown, ManifestUnknown, UploadUnknown
│   ├── UserUnknown, TokenUnknown, UserExists    (administration)
│   ├── ServerUnknown, StoreUnknown              (administration)
│   ├── LastCopies           forgetting a store would lose what lies nowhere else
│   ├── CredentialsInvalid   wrong name, password or token
│   ├── PasswordInvalid      a password too short, too long or too well known to be set
│   ├── Unauthorized         rights are missing; carries what was needed
│   ├── TooMany              over a limit on requests; carries when to try again
│   ├── Unsupported          an operation this registry does not offer
│   └── SettingInvalid       a flag, variable or file that cannot be used
└── Failed                   we, or the world, are wrong
    ├── ChunkUnknown         the store has no such chunk
    ├── Corrupt              the bytes are not what their name says; never returned as data
    ├── StoreFull            no room left under the reserve
    ├── StoreUnusable        a store that must not be used: foreign, read-only, suspect
    ├── NotEnoughStores      fewer stores than an acknowledgement needs
    ├── Unreachable          another server did not answer
    └── DatabaseAway         the database did not answer
"""


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


class PageInvalid(Refused):
    """A page size (`n`) that is not a number."""


class RequestInvalid(Refused):
    """A request that cannot be understood."""


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


class UserUnknown(Refused):
    """No such user."""


class UserExists(Refused):
    """The name is taken."""


class TokenUnknown(Refused):
    """No such access token."""


class ServerUnknown(Refused):
    """No such server in the cluster: it was never there, or has been forgotten."""


class StoreUnknown(Refused):
    """No such store in the cluster: it was never there, or has been forgotten."""


class LastCopies(Refused):
    """A store that has, as far as anybody can tell, the only copies of something."""


class CredentialsInvalid(Refused):
    """The name, password or token is wrong; which of them is not said."""


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


class SettingInvalid(Refused):
    """A setting that cannot be used; the message names it and its source."""


class Failed(TreeScaleError):
    """We, or the world around us, are wrong; trying again later may work."""


class ChunkUnknown(Failed):
    """The store does not hold this chunk."""


class Corrupt(Failed):
    """Bytes that are not what their name says. Never returned as data; starts a repair."""


class StoreFull(Failed):
    """Writing would eat into the store's reserve of bytes or inodes."""


class StoreUnusable(Failed):
    """A store that must not be used: missing or foreign `store.json`, read-only, or suspect."""


class NotEnoughStores(Failed):
    """Fewer usable stores than an acknowledgement needs."""


class Unreachable(Failed):
    """Another server did not answer."""


class DatabaseAway(Failed):
    """The database did not answer."""
