"""What an agent calls at its gateway beside the link, made once for each channel.

Made while the channel is open: a stub made on a closed one ends the process (grpcio 1.85), while a call
through one that was made before fails as any call does (`exchange.rpc_errors.answered`).
"""

import grpc

from exchange.v1 import case_pb2_grpc, directory_pb2_grpc, grant_pb2_grpc, ticket_pb2_grpc


class GatewayStubs:
    """The stubs of one channel.

    Args:
        channel: open.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.directory: directory_pb2_grpc.DirectoryServiceAsyncStub = (
            directory_pb2_grpc.DirectoryServiceStub(channel)
        )
        self.grants: grant_pb2_grpc.GrantServiceAsyncStub = grant_pb2_grpc.GrantServiceStub(channel)
        self.cases: case_pb2_grpc.CaseServiceAsyncStub = case_pb2_grpc.CaseServiceStub(channel)
        self.tickets: ticket_pb2_grpc.TicketServiceAsyncStub = ticket_pb2_grpc.TicketServiceStub(channel)
