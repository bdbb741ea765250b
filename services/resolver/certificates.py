"""Signs certificates, with keys of their own that are kept for good."""

from __future__ import annotations

from boundary.certificates import Sections, sign
from services.resolver.signing_keys import SigningKeys

ERASURE = "erasure"
SUBJECT_ERASURE = "subject-erasure"


class Certificates:
    """The platform's certificates."""

    def __init__(self, keys: SigningKeys) -> None:
        """Takes the keys, none of which is ever dropped."""
        self._keys = keys

    def issue(self, sections: Sections, *, kind: str) -> str:
        """The certificate of some sections, signed with the newest key."""
        key = self._keys.current()
        return sign(sections, kind=kind, key_id=key.key_id, key=key.private)

    def jwks(self) -> str:
        """The public keys that certificates are checked with, as a JSON Web Key Set."""
        return self._keys.jwks()
