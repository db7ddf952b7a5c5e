"""Finds resources by words, code, provider, division, share type, category and standing.

1. Words and codes are compared after NFKC and case folding, so full-width and half-width, upper and lower
   case are the same; Chinese needs no cutting into words, for every substring counts.
2. The text of an entry is folded once, when it is first searched, and kept until a newer version.
3. One call looks at no more than 20,000 entries and lets others work in between; a page that ends there has a
   token to go on with, though it may be short.
4. What is in review is found by those alone who may see it (`sees_review`).
"""

import asyncio
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from exchange.codes import division_code
from exchange.errors import Malformed, Oversized
from exchange.identity import Identity, Role
from exchange.resources import Resource, division_prefix, own_item
from exchange.v1 import common_pb2, directory_pb2
from gateway import pages
from gateway.directory.catalogue_entry import Entry, PackedResource, opened
from gateway.directory.resources import Catalogue

MAX_WORDS = 8
MAX_WORD = 64
MAX_EXAMINED = 20_000
SLICE = 64
"""So many entries are looked at before others have their turn: some milliseconds, also with new texts."""
TURN = 16
"""So many that fit are read from the log before others have theirs."""
_CODE, _CATEGORY = "\x1f", "\x1e"
"""Before and after each code, and before the category: no text of an entry has them."""
_REVIEW_READERS = frozenset({Role.OFFICER, Role.AUDITOR, Role.ADMIN})

PUBLISHED = directory_pb2.RESOURCE_STANDING_PUBLISHED
SUSPENDED = directory_pb2.RESOURCE_STANDING_SUSPENDED
IN_REVIEW = directory_pb2.RESOURCE_STANDING_IN_REVIEW
WITHDRAWN = directory_pb2.RESOURCE_STANDING_WITHDRAWN
_STANDINGS: dict[int, frozenset[int]] = {
    directory_pb2.RESOURCE_STANDING_UNSPECIFIED: frozenset({PUBLISHED, SUSPENDED}),
    **{standing: frozenset({standing}) for standing in (PUBLISHED, SUSPENDED, IN_REVIEW, WITHDRAWN)},
}


Read = Callable[[int], common_pb2.Statement]
"""Returns the statement of the log entry at an index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a caller looks for, folded; every part that is set must fit."""

    parts: Sequence[str]
    provider: str
    prefix: str
    share_type: int
    standings: frozenset[int]


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry, the version of it that fits, and that version as it was signed."""

    entry: Entry
    version: int
    statement: common_pb2.Statement


@dataclass(slots=True)
class Found:
    """A page: what fits, and the id after which to go on; empty at the end."""

    hits: list[Hit] = field(default_factory=list)
    next_key: str = ""


def fold(text: str) -> str:
    """Return a text as it is compared."""
    return unicodedata.normalize("NFKC", text).casefold()


def read_search(request: directory_pb2.SearchResourcesRequest) -> Wanted:
    """Return what a request looks for.

    Raises:
        Malformed, Oversized, BadIdentifier: it is out of bounds; the subject names the part.
    """
    if len(request.words) > MAX_WORDS:
        raise Oversized("words")
    words = [_folded(word, "words") for word in request.words]
    if request.code:
        words.append(f"{_CODE}{_folded(request.code, 'code')}{_CODE}")
    if request.category:
        words.append(f"{_CATEGORY}{_folded(request.category, 'category')}")
    if request.standing not in _STANDINGS:
        raise Malformed("standing")
    if request.share_type not in directory_pb2.ShareType.values() or len(request.provider) > MAX_WORD:
        raise Malformed("share_type or provider")
    return Wanted(
        parts=words,
        provider=request.provider,
        prefix=division_prefix(division_code(request.division)) if request.division else "",
        share_type=request.share_type,
        standings=_STANDINGS[request.standing],
    )


async def search(
    catalogue: Catalogue, wanted: Wanted, caller: Identity, *, read: Read, after: str, most: int
) -> Found:
    """Return the next page of entries that fit.

    Args:
        catalogue: may change between slices; the search goes on by id.
        wanted: what to look for.
        caller: who asks.
        read: reads what was signed from the log.
        after: id after which to go on; empty for the start.
        most: entries on the page.
    """
    found, examined, size = Found(), 0, 0
    while examined < MAX_EXAMINED:
        part = list(islice(catalogue.entries(after, wanted.prefix), SLICE))
        if not part:
            return found
        for entry in part:
            shown = fitting(entry, wanted, caller, read)
            if shown is not None:
                statement = read(entry.indexes[shown.version - 1])
                size += statement.ByteSize()
                if len(found.hits) == most or (found.hits and size > pages.MAX_BYTES):
                    found.next_key = after
                    return found
                found.hits.append(Hit(entry, shown.version, statement))
                if len(found.hits) % TURN == 0:
                    await asyncio.sleep(0)
            after = entry.id
        examined += len(part)
        await asyncio.sleep(0)
    found.next_key = after
    return found


def fitting(entry: Entry, wanted: Wanted, caller: Identity, read: Read) -> Resource | PackedResource | None:
    """Return the version of an entry that fits and that the caller may see; None where there is none."""
    if wanted.provider and wanted.provider != entry.provider:
        alias = entry.id[7 : entry.id.rindex("/")]
        if wanted.provider != alias:
            return None
    shown = _shown(entry, wanted, caller)
    if shown is None:
        return None
    if wanted.parts:
        text = _text_of(entry, shown.version, read)
        if not all(part in text for part in wanted.parts):
            return None
    # Last, for it wants the version opened.
    return shown if not wanted.share_type or _shares(opened(shown), wanted.share_type) else None


def sees_review(entry: Entry, caller: Identity) -> bool:
    """Return whether a caller may see what waits for review."""
    if caller.role in _REVIEW_READERS:
        return True
    reviewer = entry.waiting.reviewer if entry.waiting else ""
    return caller.role is Role.STEWARD and caller.organisation in {entry.provider, reviewer}


def text_of(body: directory_pb2.ResourceBody) -> str:
    """Return the folded text by which a version is found: words in lines, then codes, then the category."""
    item = body.item or own_item(body.id)
    codes = {body.code, item, *(one.code for one in body.fields)} - {""}
    words: Iterable[str] = (
        body.title_zh,
        body.title_en,
        body.summary_zh,
        body.summary_en,
        *body.keywords,
        *(title for one in body.fields for title in (one.title_zh, one.title_en)),
    )
    listed = _CODE + _CODE.join(sorted(codes)) + _CODE
    return fold("\n".join(word for word in words if word)) + fold(listed) + _CATEGORY + fold(body.category)


def _shown(entry: Entry, wanted: Wanted, caller: Identity) -> Resource | PackedResource | None:
    if wanted.standings == {IN_REVIEW}:
        waits = entry.waiting is not None and sees_review(entry, caller)
        return entry.waiting.resource if entry.waiting is not None and waits else None
    kept = entry.kept
    return kept if kept is not None and entry.standing(kept.version) in wanted.standings else None


def _shares(resource: Resource, share_type: int) -> bool:
    if share_type == directory_pb2.SHARE_TYPE_UNCONDITIONAL:
        return bool(resource.unconditional)
    if share_type == directory_pb2.SHARE_TYPE_CONDITIONAL:
        return len(resource.shared) > len(resource.unconditional)
    return len(resource.fields) > len(resource.shared)


def _text_of(entry: Entry, version: int, read: Read) -> str:
    if entry.text is None or entry.text[0] != version:
        body = directory_pb2.ResourceBody.FromString(read(entry.indexes[version - 1]).body)
        entry.text = version, text_of(body)
    return entry.text[1]


def _folded(word: str, subject: str) -> str:
    if len(word) > MAX_WORD:
        raise Oversized(subject)
    folded = fold(word.strip())
    if not folded or not folded.isprintable():
        raise Malformed(subject)
    return folded
