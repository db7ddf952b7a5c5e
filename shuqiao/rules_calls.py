"""What people do to the region's rules, as calls: read, set, explain, dry-run."""

from collections.abc import Sequence

import grpc

from exchange.region_rules import NO_RULES, RegionRules, read_rules
from exchange.v1 import common_pb2, rules_pb2, rules_pb2_grpc
from shuqiao.calling import CALL_TIMEOUT_S, calling

DRY_RUN_TIMEOUT_S = 600.0


def get_rules(channel: grpc.Channel) -> tuple[RegionRules, rules_pb2.GetRulesResponse]:
    """Return the rules in force, as read and as they were answered."""
    with calling():
        answer = rules_pb2_grpc.RulesServiceStub(channel).GetRules(
            rules_pb2.GetRulesRequest(), timeout=CALL_TIMEOUT_S
        )
    return (read_rules(answer.rules[0].body) if answer.rules else NO_RULES), answer


def set_rules(channel: grpc.Channel, statements: Sequence[common_pb2.Statement]) -> int:
    """Set the rules that two administrators signed, the caller first; return the index of the log entry."""
    request = rules_pb2.SetRulesRequest(rules=statements)
    with calling():
        return rules_pb2_grpc.RulesServiceStub(channel).SetRules(request, timeout=CALL_TIMEOUT_S).index


def explain(channel: grpc.Channel, request: rules_pb2.ExplainRequest) -> rules_pb2.ExplainResponse:
    """Return whether an exchange would pass, and which rule decides."""
    with calling():
        return rules_pb2_grpc.RulesServiceStub(channel).Explain(request, timeout=CALL_TIMEOUT_S)


def dry_run(channel: grpc.Channel, request: rules_pb2.DryRunRequest) -> rules_pb2.DryRunResponse:
    """Return what other rules would have decided."""
    with calling():
        return rules_pb2_grpc.RulesServiceStub(channel).DryRun(request, timeout=DRY_RUN_TIMEOUT_S)
