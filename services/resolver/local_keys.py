"""The resolver's own signing keys as verifying ones: it need not ask itself."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.resolver.signing_keys import SigningKeys


class LocalKeys:
    """Verifying keys straight from the signing ones (boundary.context.ContextKeys)."""

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys

    async def find(self, key_id: str) -> Ed25519PublicKey | None:
        """The key of that id, or None where there is none."""
        return self._keys.public(key_id)
