"""ID tokens as issuers make them, well and badly, and a small issuer to fetch keys from."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
RSA_KEY: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY: Final = ec.generate_private_key(ec.SECP256R1())


def part(value: object) -> str:
    """Return a value as a part of a JWT; text and bytes as they are."""
    if isinstance(value, str):
        value = value.encode()
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwk(private: PrivateKey, key_id: str | None, **more: object) -> dict[str, Any]:
    """Return the public half as a JWK."""
    if isinstance(private, rsa.RSAPrivateKey):
        found = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    else:
        found = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    found = {name: value for name, value in found.items() if name != "key_ops"}
    return {**found, "use": "sig"} | ({} if key_id is None else {"kid": key_id}) | more


def jwks(*keys: dict[str, Any]) -> bytes:
    """Return a JWK set."""
    return json.dumps({"keys": [*keys]}).encode()


@dataclass
class Maker:
    """What an issuer makes its tokens with."""

    issuer: str
    now: float
    audience: object = "https://registry.example"
    private: PrivateKey = RSA_KEY
    algorithm: str = "RS256"
    key_id: str | None = "k1"
    claims: dict[str, Any] = field(default_factory=dict)
    made: int = 0

    def token(self, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a token of these claims; None leaves one out."""
        self.made += 1
        whole = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": "repo:acme/app:ref:refs/heads/main",
            "iat": self.now,
            "nbf": self.now,
            "exp": self.now + 300,
            "jti": f"jti-{self.made}",
            **self.claims,
            **claims,
        }
        kept = {name: value for name, value in whole.items() if value is not None}
        named = {} if self.key_id is None else {"kid": self.key_id}
        return self.raw({"typ": "JWT", "alg": self.algorithm, **named, **(header or {})}, kept)

    def raw(self, header: object, claims: object) -> str:
        """Return a token of just this header and these claims, rightly signed."""
        signed = f"{part(header)}.{part(claims)}"
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        return f"{signed}.{part(algorithm.sign(signed.encode(), self.private))}"
