"""Makes an authority from nothing, on one machine: root, issuing certificate, and the first administrators.

From then on nobody is enrolled by one person alone: hence two administrators at least.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from certs.own_keys import KEYS, OwnKeys, found
from certs.profiles import Lifetimes, check_hosts, key_of_request
from certs.records import Records, note
from certs.registry import enter_person, record
from exchange.clock import Clock, SystemClock
from exchange.configuration import MAX_PASSPHRASE_BYTES
from exchange.enrolment import TLS_KEY, IdentityFolder, make_key_and_csr
from exchange.enrolment_file import EnrolmentFile
from exchange.errors import BadConfiguration
from exchange.identity import Identity, Role
from exchange.keystore import FileKeyStore

DATABASE = "authority.db"
MIN_ADMINS = 2


def initialise(
    folder: Path,
    *,
    division: str,
    trust_domain: str,
    passphrase: bytes,
    admins: Mapping[str, tuple[Path, bytes]],
    root_passphrase: bytes = b"",
    hosts: Sequence[str] = ("localhost", "127.0.0.1"),
    enrolment_address: str = "localhost:7440",
    service_address: str = "localhost:7441",
    lifetimes: Lifetimes | None = None,
    clock: Clock | None = None,
) -> list[Identity]:
    """Make an authority's folder and the identity folders of its first administrators.

    A crash before the end leaves a folder that has to be removed: `root.pem` forbids a second founding.

    Args:
        folder: the authority's; must hold no authority yet.
        division: of the root, 6 digits.
        trust_domain: for example "yunchuan.example".
        passphrase: of the issuing key.
        admins: for each administrator's id its identity folder and that folder's passphrase; at least two.
        root_passphrase: of the root's key; as `passphrase` where empty.
        hosts: DNS names and IP addresses under which the authority will be dialled.
        enrolment_address, service_address: where it will listen, "host:port".
        lifetimes: of certificates.
        clock: tells the time.

    Returns:
        The administrators.

    Raises:
        BadConfiguration: there is an authority already, or an argument will not do.
    """
    check_hosts(hosts)
    if len(admins) < MIN_ADMINS or not 0 < len(passphrase) <= MAX_PASSPHRASE_BYTES:
        raise BadConfiguration("two administrators and a passphrase are needed")
    people = [Identity(trust_domain, division, Role.ADMIN, name=name) for name in admins]
    clock, lifetimes = clock or SystemClock(), lifetimes or Lifetimes()
    now_ms = clock.now_ms()
    keystore = FileKeyStore(folder=folder / KEYS, passphrase=passphrase)
    found(
        folder,
        keystore=keystore,
        division=division,
        trust_domain=trust_domain,
        root_passphrase=root_passphrase or passphrase,
        lifetimes=lifetimes,
        now_ms=now_ms,
    )
    keys = OwnKeys(
        folder=folder,
        keystore=keystore,
        division=division,
        trust_domain=trust_domain,
        hosts=hosts,
        lifetimes=lifetimes,
    )
    records = Records(path=folder / DATABASE)
    try:
        for who, (place, secret) in zip(people, admins.values(), strict=True):
            file = EnrolmentFile(
                enrolment_address=enrolment_address,
                service_address=service_address,
                root_pem=keys.root_pem,
                gateways=(),
                identity=who,
            )
            _admit(keys, records, file, place, secret, now_ms)
    finally:
        records.close()
    return people


def _admit(
    keys: OwnKeys, records: Records, file: EnrolmentFile, place: Path, passphrase: bytes, now_ms: int
) -> None:
    """Give one administrator a certificate without a token; only founding may."""
    key_pem, csr = make_key_and_csr(file.identity)
    certificate = keys.issue(file.identity, key_of_request(csr), now_ms=now_ms)
    with records.begin() as connection:
        enter_person(connection, file.identity)
        record(connection, file.identity, certificate)
        note(connection, now_ms, keys.identity.uri, "found", file.identity.uri)
    keystore = FileKeyStore(folder=place / KEYS, passphrase=passphrase)
    keystore.put(TLS_KEY, key_pem)
    IdentityFolder(place, keystore).write(file, keys.chain(certificate))
