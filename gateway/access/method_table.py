"""Which role may call which method. What is not in the table is refused to everybody.

One row per RPC, by full method name; the roles are those that the RPC's comment in proto/ names.
"""

from collections.abc import Mapping

from exchange.errors import RoleNotAllowed
from exchange.identity import Role

ANY = frozenset(Role)
_AGENT = frozenset({Role.AGENT})
_STEWARD = frozenset({Role.STEWARD})
_PARTIES = frozenset({Role.AGENT, Role.STEWARD})
_GRANT_READERS = _PARTIES | {Role.OFFICER, Role.AUDITOR, Role.ADMIN}
_LOG_READERS = frozenset({Role.OFFICER, Role.AUDITOR})
_REPORT_READERS = _LOG_READERS | {Role.STEWARD, Role.ADMIN, Role.OPERATOR}
_REVIEWED = _LOG_READERS | {Role.STEWARD, Role.ADMIN}

ROWS: Mapping[str, frozenset[Role]] = {
    "/exchange.v1.LinkService/Link": _AGENT,
    "/exchange.v1.ExchangeService/Exchange": _AGENT,
    "/exchange.v1.DirectoryService/ListOrganisations": ANY,
    "/exchange.v1.DirectoryService/ListResources": ANY,
    "/exchange.v1.DirectoryService/GetResource": ANY,
    "/exchange.v1.DirectoryService/ListBundles": ANY,
    "/exchange.v1.DirectoryService/ListEvents": _PARTIES,
    "/exchange.v1.DirectoryService/PublishResource": _STEWARD,
    "/exchange.v1.DirectoryService/SetResourceState": _STEWARD,
    "/exchange.v1.DirectoryService/SearchResources": ANY,
    "/exchange.v1.DirectoryService/ListVersions": ANY,
    "/exchange.v1.DirectoryService/PublishBundle": _AGENT,
    "/exchange.v1.GrantService/ApplyGrant": _STEWARD,
    "/exchange.v1.GrantService/DecideGrant": _PARTIES,
    "/exchange.v1.GrantService/GetGrant": _GRANT_READERS,
    "/exchange.v1.GrantService/ListGrants": _GRANT_READERS,
    "/exchange.v1.AdminService/AddOrganisation": frozenset({Role.ADMIN}),
    "/exchange.v1.AdminService/RotateLogKey": frozenset({Role.ADMIN}),
    "/exchange.v1.AdminService/GetStatus": frozenset({Role.OPERATOR, Role.OFFICER, Role.ADMIN, Role.AUDITOR}),
    "/exchange.v1.AuditService/GetCheckpoint": ANY,
    "/exchange.v1.AuditService/GetConsistency": ANY,
    "/exchange.v1.AuditService/GetEntry": _LOG_READERS | _AGENT,
    "/exchange.v1.AuditService/GetProofs": _LOG_READERS,
    "/exchange.v1.AuditService/Tail": _LOG_READERS,
    "/exchange.v1.AuditService/Search": _LOG_READERS,
    "/exchange.v1.AuditService/Trace": _LOG_READERS,
    "/exchange.v1.ReviewService/Draw": _LOG_READERS,
    "/exchange.v1.ReviewService/Act": _REVIEWED,
    "/exchange.v1.ReviewService/ListReviews": _REVIEWED,
    "/exchange.v1.ReviewService/GetReview": _REVIEWED,
    "/exchange.v1.RulesService/GetRules": ANY,
    "/exchange.v1.RulesService/SetRules": frozenset({Role.ADMIN}),
    "/exchange.v1.RulesService/Explain": _GRANT_READERS,
    "/exchange.v1.RulesService/DryRun": _LOG_READERS | {Role.ADMIN},
    "/exchange.v1.CaseService/SubmitCaseEvent": _PARTIES,
    "/exchange.v1.CaseService/GetCase": _PARTIES | _LOG_READERS,
    "/exchange.v1.StopService/Stop": frozenset({Role.OFFICER}),
    "/exchange.v1.StopService/Lift": frozenset({Role.OFFICER}),
    "/exchange.v1.StopService/ListStops": _GRANT_READERS | {Role.OPERATOR},
    "/exchange.v1.TicketService/RaiseTicket": _STEWARD,
    "/exchange.v1.TicketService/ActOnTicket": _STEWARD | {Role.ADMIN},
    "/exchange.v1.TicketService/ListTickets": _GRANT_READERS,
    "/exchange.v1.TicketService/GetTicket": _GRANT_READERS,
    "/exchange.v1.TicketService/ReportQuality": _AGENT,
    "/exchange.v1.TicketService/ListQuality": _REPORT_READERS,
    "/exchange.v1.RiskService/ListFindings": _LOG_READERS | _STEWARD,
    "/exchange.v1.RiskService/DecideFinding": _STEWARD | {Role.OFFICER},
    "/exchange.v1.ReportService/ListDisclosures": _REPORT_READERS,
    "/exchange.v1.ReportService/GetUsage": _REPORT_READERS,
    "/exchange.v1.ReportService/GetResponsibilities": _REPORT_READERS,
    "/exchange.v1.ReportService/GetPerformance": _REPORT_READERS,
    "/grpc.health.v1.Health/Check": ANY,
    "/grpc.health.v1.Health/List": ANY,
    "/grpc.health.v1.Health/Watch": ANY,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": ANY,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": ANY,
}


class MethodTable:
    """Answers which roles may call a method.

    Args:
        rows: full method names ("/package.Service/Method") and their roles.
    """

    def __init__(self, *, rows: Mapping[str, frozenset[Role]] = ROWS) -> None:
        self._rows = dict(rows)

    def roles(self, method: str) -> frozenset[Role]:
        """Return the roles that may call a method; none for a method without a row."""
        return self._rows.get(method, frozenset())

    def check(self, method: str, role: Role) -> None:
        """Refuse a call whose role has no right to it.

        Raises:
            RoleNotAllowed.
        """
        if role not in self.roles(method):
            raise RoleNotAllowed(f"{role} {method}")
