"""Opens a stopped gateway's folder for those who let its log go on after a loss."""

from typing import TYPE_CHECKING

from exchange.clock import Clock
from exchange.configuration import read_passphrase
from exchange.enrolment import IdentityFolder, call
from exchange.errors import AuthorityAway
from exchange.keystore import FileKeyStore
from exchange.trust_feed import TrustFeed
from exchange.v1 import trust_pb2
from gateway.audit.epochs.log_folder import LogFolder
from gateway.audit.epochs.log_state import load_state
from gateway.config import GatewayConfig

if TYPE_CHECKING:
    import grpc


async def log_folder(config: GatewayConfig, clock: Clock) -> LogFolder:
    """Return a gateway's folder with the newest trust list that can be had.

    Raises:
        BadConfiguration, StoreDamaged: folder, keys or state cannot be read.
        ExchangeError: the authority told a trust list that will not do.
    """
    passphrase = read_passphrase(config.passphrase_file)
    keystore = FileKeyStore(folder=config.folder / "keys", passphrase=passphrase)
    identity = IdentityFolder(config.folder / "identity", keystore)
    who, anchor = identity.identity(), identity.anchor()
    feed = TrustFeed(anchor=anchor, path=identity.trust_list_path, clock=clock)

    async def ask(channel: "grpc.aio.Channel") -> trust_pb2.GetTrustListResponse:
        from exchange.v1 import trust_pb2_grpc

        stub = trust_pb2_grpc.EnrolmentServiceStub(channel)
        answer: trust_pb2.GetTrustListResponse = await stub.GetTrustList(
            trust_pb2.GetTrustListRequest(), timeout=5.0
        )
        return answer

    try:
        answer = await call(config.authority.enrolment, ask, root_pem=identity.root_pem())
    except AuthorityAway:
        # The list that is held will do: what is opened is checked by the authority again.
        pass
    else:
        feed.offer(answer.trust_list)
    return LogFolder(
        folder=config.folder,
        keystore=keystore,
        state=load_state(config.folder, keystore, f"{who.division}.{who.trust_domain}/{who.name}"),
        anchor=anchor,
        trust=feed.current,
    )
