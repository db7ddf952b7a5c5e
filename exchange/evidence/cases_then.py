"""Cases as the log holds them: whether the case that an exchange names was open when it was admitted.

Of a bundle that holds no step of a case nothing is said about it: entries of cases go with their segment.
"""

from dataclasses import dataclass, field

from exchange import cases
from exchange.cases import Case
from exchange.errors import CaseNotOpen, ExchangeError, WrongState
from exchange.trust import Verified
from exchange.v1 import audit_pb2, common_pb2


@dataclass(slots=True)
class CasesThen:
    """Folds the steps of cases, each with when it was entered."""

    _steps: dict[str, list[tuple[int, Case]]] = field(default_factory=dict)

    def enter(self, statement: common_pb2.Statement, signer: Verified, time_ms: int) -> None:
        """Take over a step whose signature was verified.

        Raises:
            RoleNotAllowed: the signer is not the lead's.
            WrongState: it does not count up, unless the number was opened anew.
            Malformed, Oversized, BadIdentifier: its form is wrong.
        """
        case = cases.read_case(statement.body)
        cases.check_signer(case, signer.identity, ())
        steps = self._steps.setdefault(case.number, [])
        if steps and case.action != cases.OPEN and case.revision <= steps[-1][1].revision:
            raise WrongState(case.number)
        steps.append((time_ms, case))

    def knows(self, number: str) -> bool:
        """Whether any step of a case is known."""
        return number in self._steps

    def check(self, said: audit_pb2.ExchangeEntry, from_ms: int, to_ms: int) -> None:
        """Refuse an exchange whose case was at no moment open for it.

        Args:
            said: what the entry says.
            from_ms, to_ms: between which times it was admitted, Unix milliseconds.

        Raises:
            CaseNotOpen.
        """
        steps = self._steps[said.case_number]
        ends = [*(entered for entered, _ in steps[1:]), to_ms + 1]
        for (entered, case), end in zip(steps, ends, strict=True):
            begin = max(entered, from_ms)
            if begin > to_ms or end < from_ms:
                continue
            try:
                cases.check(
                    case,
                    consumer=said.consumer_organisation,
                    provider=said.provider_organisation,
                    matter=said.matter,
                    now_ms=begin,
                )
            except ExchangeError:
                continue
            return
        raise CaseNotOpen("case")
