"""Tags the subjects of an answer (exchange/subject_tags.py), so that a trace finds whom it was about.

1. Tagged are the parameters whose catalogue format names a subject, the fields asked for that the
   configuration marks as one, and claims about such fields: whether or not anything was found or matched.
2. How many tags there are follows from the resource, what was asked and the step of records that the envelope
   shows anyway; decoys fill the rest. A tag tells the consumer nothing that its question or answer does not
   hold: fields that were not asked for are not tagged.
3. A failure carries the tags of its parameters where they were opened.
4. Without the period's key nothing sealed is answered: AUTHORITY_AWAY. What is not sealed goes untagged.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from agent.provider.inspection import Job
from exchange.clock import Random
from exchange.envelope import slots_of
from exchange.errors import AuthorityAway, RowCap
from exchange.resources import Resource
from exchange.subject_tags import FORMATS, InnerTags, padded, step_of, tagged_form
from exchange.v1 import exchange_pb2

Present = Callable[[int], tuple[str, InnerTags] | None]
"""Returns the period of a time in Unix milliseconds and what tags in it; None where there is no key."""


class SubjectRule(Protocol):
    """What is needed of a field's rule."""

    @property
    def subject(self) -> str:
        """The format of the subject that it names, empty for none."""
        ...


class Described(Protocol):
    """What is needed of a source."""

    @property
    def fields(self) -> Mapping[str, SubjectRule]:
        """The rules of its fields."""
        ...


class Tagger:
    """Tags answers.

    Args:
        present: tells with what to tag.
        sources: by resource.
        random: for decoys.
    """

    def __init__(self, *, present: Present, sources: Mapping[str, Described], random: Random) -> None:
        self._present = present
        self._random = random
        self._subjects: Mapping[str, Mapping[str, str]] = {
            name: {field: rule.subject for field, rule in source.fields.items() if rule.subject}
            for name, source in sources.items()
        }
        self._parameters: dict[bytes, Mapping[str, str]] = {}

    def check(self, resource: Resource, now_ms: int) -> None:
        """Refuse to answer what would have to be tagged and cannot be (rule 4).

        Raises:
            AuthorityAway: there is no key, for the authority could not be reached for weeks.
        """
        if not resource.sealed or self._present(now_ms) is not None:
            return
        if self._named(resource) or self._subjects.get(resource.id):
            raise AuthorityAway("tag key")

    def failure(self, body: exchange_pb2.ResponseBody, job: Job, now_ms: int) -> None:
        """Tag a failure."""
        if job.resource is not None and job.parameters:
            named = self._named(job.resource)
            self._write(body, job, self._of_parameters(job, named), len(named), now_ms)

    def answer(
        self,
        body: exchange_pb2.ResponseBody,
        job: Job,
        columns: Sequence[Sequence[object]],
        records: int,
        now_ms: int,
    ) -> None:
        """Tag an answer to a query.

        Raises:
            RowCap: more subjects were found than an entry can hold.
            AuthorityAway: as `check`.
        """
        assert job.resource is not None
        named, marked = self._named(job.resource), self._subjects.get(job.resource.id, {})
        tagged = self._of_parameters(job, named)
        fields = 0
        if marked:
            for name, values in zip(job.header.fields, columns, strict=True):
                if name in marked:
                    fields += 1
                    tagged += [(marked[name], value) for value in values if value is not None]
        self._sealed(body, job, tagged, len(named) + fields * slots_of(records), now_ms)

    def verdict(self, body: exchange_pb2.ResponseBody, job: Job, now_ms: int) -> None:
        """Tag an answer to a verification: what was claimed about a subject names it, right or wrong.

        Raises:
            AuthorityAway: as `check`.
        """
        assert job.resource is not None
        named, marked = self._named(job.resource), self._subjects.get(job.resource.id, {})
        claimed: list[tuple[str, object]] = [(marked[n], c) for n, c in job.claims.items() if n in marked]
        room = len(named) + len(claimed)
        self._sealed(body, job, self._of_parameters(job, named) + claimed, room, now_ms)

    def _sealed(
        self,
        body: exchange_pb2.ResponseBody,
        job: Job,
        tagged: Sequence[tuple[str, object]],
        room: int,
        now_ms: int,
    ) -> None:
        assert job.resource is not None
        if not self._write(body, job, tagged, room, now_ms) and room and job.resource.sealed:
            # The key ended between the question and the answer.
            raise AuthorityAway("tag key")

    def _write(
        self,
        body: exchange_pb2.ResponseBody,
        job: Job,
        tagged: Sequence[tuple[str, object]],
        room: int,
        now_ms: int,
    ) -> bool:
        job.tagged = "", 0
        present = self._present(now_ms)
        if present is None or not room:
            return False
        period, inner = present
        # What names nobody has a tag that nobody can ask for: the same as a decoy.
        tags = {inner.of(format, tagged_form(str(value))) for format, value in tagged}
        size = step_of(room)
        if len(tags) > size:
            raise RowCap(f"{len(tags)} subjects")
        job.tagged = period, size
        body.tag_period = period
        body.subject_tags.extend(padded(tags, size, self._random))
        return True

    def _of_parameters(self, job: Job, named: Mapping[str, str]) -> list[tuple[str, object]]:
        return [(named[name], value) for name, value in job.parameters.items() if name in named]

    def _named(self, resource: Resource) -> Mapping[str, str]:
        """Return the formats of the parameters that name a subject."""
        named = self._parameters.get(resource.digest)
        if named is None:
            if len(self._parameters) > 2 * len(self._subjects):
                self._parameters.clear()
            named = self._parameters[resource.digest] = {
                name: rule.format for name, rule in resource.parameters.items() if rule.format in FORMATS
            }
        return named
