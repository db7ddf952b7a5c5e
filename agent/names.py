"""Whose name an alias in a resource id is, from what administrators of the region signed.

An id says "<division>/<alias>/<name>". Without this a gateway in league with one department could hand out
that department's entry under another's alias, and questions would be sealed to the wrong agents.
One alias per division names one organisation for good.
"""

from google.protobuf.message import DecodeError

from exchange.codes import credit_code, division_code
from exchange.errors import BadIdentifier, Malformed, RoleNotAllowed, UnknownOrganisation, WrongState
from exchange.identity import Identity, Role, division_covers
from exchange.resources import GOVERNMENT, Resource, split_id
from exchange.v1 import common_pb2, directory_pb2


class Names:
    """The aliases of the region."""

    def __init__(self) -> None:
        self._by_code: dict[str, tuple[str, str]] = {}
        self._by_alias: dict[tuple[str, str], str] = {}
        self._government: dict[str, bool] = {}

    def read(self, statement: common_pb2.Statement) -> tuple[str, str, str, bool]:
        """Return credit code, division, alias and whether it is a government body; it is not verified.

        Args:
            statement: a signed OrganisationBody.

        Raises:
            Malformed, BadIdentifier.
        """
        try:
            body = directory_pb2.OrganisationBody.FromString(statement.body)
        except DecodeError:
            raise Malformed("organisation") from None
        government = body.kind in GOVERNMENT
        return credit_code(body.credit_code), division_code(body.division), body.alias, government

    def check(self, code: str, division: str, alias: str, signer: Identity) -> None:
        """Refuse a name that no administrator gave, that is taken, or that would change.

        Raises:
            RoleNotAllowed, WrongState.
        """
        if signer.role is not Role.ADMIN:
            raise RoleNotAllowed(code)
        held = self._by_code.get(code, (division, alias))
        if held != (division, alias) or self._by_alias.get((division, alias), code) != code:
            raise WrongState(code)

    def take(self, code: str, division: str, alias: str, government: bool) -> None:
        """Take over a name that was checked."""
        self._by_code[code] = (division, alias)
        self._by_alias[division, alias] = code
        self._government[code] = government

    def government(self, code: str) -> bool:
        """Return whether an organisation is a government body; one that nobody has named is none."""
        return self._government.get(code, False)

    def check_resource(self, resource: Resource) -> None:
        """Refuse a resource whose id is not in its provider's name.

        Raises:
            UnknownOrganisation: no administrator has named the provider.
            BadIdentifier: the alias is another's, or the division is not the provider's.
        """
        division, alias, _ = split_id(resource.id)
        held = self._by_code.get(resource.provider)
        if held is None:
            raise UnknownOrganisation(resource.provider)
        if held[1] != alias or not division_covers(held[0], division):
            raise BadIdentifier(resource.id)
