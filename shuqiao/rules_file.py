"""The file of rules that travels between two administrators: one body, and the signatures so far."""

from collections.abc import Sequence
from pathlib import Path

from exchange.canonical import RULES
from exchange.errors import BadConfiguration, RoleNotAllowed, SecondPersonRequired
from exchange.identity import Identity, Role
from exchange.region_rules import SIGNERS, RegionRules, read_rules
from exchange.statement import check_one_body
from exchange.trust import TrustAnchor
from exchange.v1 import common_pb2, rules_pb2
from shuqiao.regional import Signer
from shuqiao.signed_file import check_signs_once, read_message, signers_of, write_message


def write(path: Path, statements: Sequence[common_pb2.Statement]) -> None:
    """Write the file.

    Raises:
        BadConfiguration: it cannot be written.
    """
    write_message(path, rules_pb2.SetRulesRequest(rules=statements))


def read(path: Path) -> tuple[RegionRules, list[common_pb2.Statement]]:
    """Return the rules in a file, and the statements.

    Raises:
        BadConfiguration: it cannot be read or is no such file.
        BadSignature: the statements are about different rules.
        Malformed, Oversized, BadIdentifier: the body will not do.
    """
    statements = list(read_message(path, rules_pb2.SetRulesRequest).rules)
    if not 0 < len(statements) <= SIGNERS:
        raise BadConfiguration(f"{path}: no rules")
    check_one_body(statements)
    return read_rules(statements[0].body), statements


def signers(statements: Sequence[common_pb2.Statement], anchor: TrustAnchor, now_ms: int) -> list[Identity]:
    """Return who has signed so far; raises what `signers_of` does."""
    return signers_of(statements, RULES, anchor, now_ms)


def sign(
    statements: Sequence[common_pb2.Statement], signer: Signer, anchor: TrustAnchor, now_ms: int
) -> list[common_pb2.Statement]:
    """Return the statements with one more signature.

    Raises:
        RoleNotAllowed: the signer is no administrator.
        SecondPersonRequired: the signer has signed already, or two have.
        ExchangeError: what was signed before does not verify.
    """
    who = signer.identity
    check_administrator(who)
    if len(statements) >= SIGNERS:
        raise SecondPersonRequired(f"{who}: two have signed already")
    check_signs_once(who, signers(statements, anchor, now_ms))
    return [*statements, signer.sign(RULES, statements[0].body)]


def own_first(
    statements: Sequence[common_pb2.Statement], people: Sequence[Identity], who: Identity
) -> list[common_pb2.Statement]:
    """Return the statements, that of whoever hands them in first; as they are where there is none."""
    return [one for _, one in sorted(zip(people, statements, strict=True), key=lambda pair: pair[0] != who)]


def check_administrator(who: Identity) -> None:
    """Refuse anybody but an administrator.

    Raises:
        RoleNotAllowed.
    """
    if who.role is not Role.ADMIN:
        raise RoleNotAllowed(str(who))
