"""Keys of agents: one's own (exchange/own_keys.py), a peer's (exchange/peer_keys.py), and the book of peers'
bundles (exchange/bundle_book.py).
"""

from exchange.bundle_book import BundleBook
from exchange.own_keys import OwnKeys
from exchange.peer_keys import PeerKeys, SealingPublic, SigningPublic, key_id, open_bundle

__all__ = ["BundleBook", "OwnKeys", "PeerKeys", "SealingPublic", "SigningPublic", "key_id", "open_bundle"]
