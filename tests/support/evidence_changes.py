"""The eight kinds of change to the records of a bundle, each in several forms; see `evidence_mutations`."""

from collections.abc import Callable
from typing import Any

from exchange.checkpoint import Checkpoint, parse_checkpoint, part_note
from exchange.evidence.records import Kind
from exchange.receipt import from_tlog_proof, to_tlog_proof
from exchange.v1 import audit_pb2, common_pb2, evidence_pb2
from tests.support.evidence_mutations import FOREIGN_LOG, Changed, Mutator, Unfit, put, rehash
from tests.support.region import ORIGIN

Change = Callable[[Mutator], Changed]


def _is_exchange(entry: audit_pb2.AuditEntry) -> bool:
    return entry.HasField("exchange")


def _is_answered(entry: audit_pb2.AuditEntry) -> bool:
    return bool(entry.exchange.response_digest)


def _is_signed_act(entry: audit_pb2.AuditEntry) -> bool:
    return entry.administrative.HasField("statement")


def _replaced(m: Mutator, number: int, message: Any, how: str, *entries: int) -> Changed:
    items = m.copy()
    put(items, number, message)
    return Changed(items, how, {number}, set(entries))


def _with_leaf(m: Mutator, number: int, block: Any, place: int, leaf: bytes, how: str) -> Changed:
    """Replace an entry, and sometimes its hash too."""
    block.leaves[place] = leaf
    if m.draw.random() < 0.5:
        rehash(block)
        return _replaced(m, number, block, f"{how}, rehashed")
    items = m.copy()
    put(items, number, block)
    return Changed(items, how, set(), {block.first + place})


def _head(m: Mutator) -> tuple[int, evidence_pb2.EvidenceHead]:
    number = m.of(Kind.HEAD)
    return number, evidence_pb2.EvidenceHead.FromString(m.items[m.base][number][1])


def _heads(m: Mutator) -> list[int]:
    return [n for n, (kind, _) in enumerate(m.items[m.base]) if kind is Kind.HEAD]


def _head_at(m: Mutator, number: int) -> evidence_pb2.EvidenceHead:
    return evidence_pb2.EvidenceHead.FromString(m.items[m.base][number][1])


def _attachment(m: Mutator, what: str) -> tuple[int, evidence_pb2.EvidenceAttachment]:
    found = []
    for number, (kind, raw) in enumerate(m.items[m.base]):
        if kind is Kind.ATTACHMENT:
            made = evidence_pb2.EvidenceAttachment.FromString(raw)
            if made.WhichOneof("what") == what:
                found.append((number, made))
    if not found:
        raise Unfit
    return m.draw.choice(found)


def _trust(m: Mutator) -> tuple[int, common_pb2.Statement]:
    number = m.of(Kind.TRUST_LIST)
    return number, common_pb2.Statement.FromString(m.items[m.base][number][1])


# -- edit ------------------------------------------------------------------------------------------------


def edit_leaf(m: Mutator) -> Changed:
    number, block = m.block()
    place = m.draw.randrange(len(block.leaves))
    return _with_leaf(m, number, block, place, m.flipped(block.leaves[place]), "byte of an entry")


def edit_claim(m: Mutator) -> Changed:
    number, block, place, entry = m.entry(_is_exchange)
    name = m.draw.choice(
        ("purpose", "matter", "case_number", "operator", "resource", "consumer_organisation")
    )
    setattr(entry.exchange, name, getattr(entry.exchange, name) + m.draw.choice("xyz"))
    return _with_leaf(m, number, block, place, entry.SerializeToString(), f"claim {name}")


def edit_outcome(m: Mutator) -> Changed:
    number, block, place, entry = m.entry(_is_exchange)
    told = entry.exchange
    told.decision = audit_pb2.DECISION_REFUSED if told.decision == 1 else audit_pb2.DECISION_RELEASED
    return _with_leaf(m, number, block, place, entry.SerializeToString(), "decision")


def edit_time(m: Mutator) -> Changed:
    number, block, place, entry = m.entry(lambda one: True)
    entry.time_ms += m.draw.choice((-1, 1)) * m.draw.randrange(1, 10**9)
    return _with_leaf(m, number, block, place, entry.SerializeToString(), "time of an entry")


def edit_block(m: Mutator) -> Changed:
    number, block = m.block()
    form = m.draw.choice(("hashes", "left", "right", "first", "supporting", "ordinal", "peers"))
    entries: tuple[int, ...] = ()
    if form in ("hashes", "left", "right"):
        setattr(block, form, m.flipped(getattr(block, form)))
    elif form == "supporting":
        block.supporting = not block.supporting
        # Told at the block itself, at the next of the role it left, or where the entries end.
        changed = _replaced(m, number, block, "role of a block")
        changed.records |= set(range(number, len(changed.items) + 1))
        return changed
    else:
        setattr(block, form, max(0, getattr(block, form) + m.draw.choice((-1, 1, 2, 64))))
    return _replaced(m, number, block, f"{form} of a block", *entries)


def edit_head(m: Mutator) -> Changed:
    number, head = _head(m)
    form = m.draw.choice(("text", "text", "signatures", "signatures", "proof", "cosignatures", "ordinal"))
    if form in ("text", "signatures"):
        at = head.checkpoint.rindex("\n\n") + 2
        low, high = (0, at) if form == "text" else (at, len(head.checkpoint))
        place = m.draw.randrange(low, high)
        other = m.draw.choice("0123456789ABCxyz+/\n =")
        head.checkpoint = head.checkpoint[:place] + other + head.checkpoint[place + 1 :]
    elif form == "proof":
        head.proof = m.flipped(head.proof)
    else:
        setattr(head, form, max(0, getattr(head, form) + m.draw.choice((-1, 1, 5))))
    return _replaced(m, number, head, f"{form} of a head")


def edit_trust(m: Mutator) -> Changed:
    number, statement = _trust(m)
    form = m.draw.choice(("body", "signature", "chain"))
    if form == "chain":
        place = m.draw.randrange(len(statement.chain))
        statement.chain[place] = m.flipped(statement.chain[place])
    else:
        setattr(statement, form, m.flipped(getattr(statement, form)))
    return _replaced(m, number, statement, f"{form} of a trust list")


def edit_policy(m: Mutator) -> Changed:
    number = m.of(Kind.POLICY)
    return _replaced(m, number, m.flipped(m.items[m.base][number][1]), "policy")


def edit_attachment(m: Mutator) -> Changed:
    what = m.draw.choice(("request", "response", "receipt"))
    number, made = _attachment(m, what)
    form = m.draw.choice(("content", "content", "index", "ordinal"))
    if form != "content":
        setattr(made, form, max(0, getattr(made, form) + m.draw.choice((-1, 1, 1000))))
    elif what == "receipt":
        place = m.draw.randrange(len(made.receipt))
        made.receipt = made.receipt[:place] + m.draw.choice("0aZ/\n ") + made.receipt[place + 1 :]
    else:
        signed = getattr(made, what)
        if m.draw.random() < 0.5:
            signed.body = m.flipped(signed.body)
        else:
            signed.signature.signature = m.flipped(signed.signature.signature)
    return _replaced(m, number, made, f"{form} of an attached {what}")


# -- delete ----------------------------------------------------------------------------------------------


def delete_record(m: Mutator) -> Changed:
    number = m.of(Kind.TRUST_LIST, Kind.POLICY, Kind.HEAD, Kind.ATTACHMENT, Kind.ENTRIES)
    items = m.copy()
    kind, _ = items.pop(number)
    return Changed(items, f"record of {kind.word}", {number})


def delete_block(m: Mutator) -> Changed:
    number = m.of(Kind.ENTRIES)
    items = m.copy()
    del items[number]
    return Changed(items, "block", {number})


def delete_leaf(m: Mutator) -> Changed:
    number, block = m.block()
    if len(block.leaves) < 2:
        raise Unfit
    place = m.draw.randrange(len(block.leaves))
    form = m.draw.choice(("leaf", "both", "hash"))
    if form != "hash":
        del block.leaves[place]
    if form == "both":
        rehash(block)
    if form == "hash":
        block.hashes = block.hashes[: 32 * place] + block.hashes[32 * place + 32 :]
    if form == "leaf":
        items = m.copy()
        put(items, number, block)
        return Changed(items, "entry", set(), {block.first + place})
    return _replaced(m, number, block, f"entry: {form}")


def delete_line(m: Mutator) -> Changed:
    number, head = _head(m)
    lines = head.checkpoint.splitlines(keepends=True)
    del lines[m.draw.randrange(len(lines))]
    head.checkpoint = "".join(lines)
    return _replaced(m, number, head, "line of a checkpoint")


# -- reorder ---------------------------------------------------------------------------------------------


def reorder_records(m: Mutator) -> Changed:
    items = m.copy()
    if m.draw.random() < 0.7:
        kind = m.draw.choice((Kind.ENTRIES, Kind.HEAD, Kind.ATTACHMENT))
        numbers = [n for n, (of, _) in enumerate(items) if of is kind]
    else:
        numbers = list(range(1, len(items)))
    if len(numbers) < 2:
        raise Unfit
    one, two = m.draw.sample(numbers, 2)
    items[one], items[two] = items[two], items[one]
    return Changed(items, "records", {one, two})


def reorder_leaves(m: Mutator) -> Changed:
    number, block = m.block()
    if len(block.leaves) < 2:
        raise Unfit
    one, two = m.draw.sample(range(len(block.leaves)), 2)
    leaves = list(block.leaves)
    leaves[one], leaves[two] = leaves[two], leaves[one]
    del block.leaves[:]
    block.leaves.extend(leaves)
    if m.draw.random() < 0.5:
        rehash(block)
        return _replaced(m, number, block, "entries, rehashed")
    items = m.copy()
    put(items, number, block)
    return Changed(items, "entries", set(), {block.first + one, block.first + two})


def reorder_lines(m: Mutator) -> Changed:
    number, head = _head(m)
    text, lines = part_note(head.checkpoint)
    one, two = m.draw.sample(range(len(lines)), 2)
    lines[one], lines[two] = lines[two], lines[one]
    head.checkpoint = f"{text}\n" + "".join(f"{line}\n" for line in lines)
    return _replaced(m, number, head, "signatures of a checkpoint")


# -- truncate --------------------------------------------------------------------------------------------


def truncate_records(m: Mutator) -> Changed:
    items = m.copy()
    blocks = sum(kind is Kind.ENTRIES for kind, _ in items)
    cut = m.draw.randrange(1, blocks + 1)
    del items[-cut:]
    return Changed(items, f"{cut} blocks", {len(items)})


def truncate_block(m: Mutator) -> Changed:
    number, block = m.block()
    if len(block.leaves) < 2:
        raise Unfit
    cut = m.draw.randrange(1, len(block.leaves))
    left = len(block.leaves) - cut
    del block.leaves[left:]
    if m.draw.random() < 0.5:
        rehash(block)
        return _replaced(m, number, block, f"{cut} entries, rehashed")
    items = m.copy()
    put(items, number, block)
    return Changed(items, f"{cut} entries", set(), set(range(block.first + left, block.first + left + cut)))


def truncate_leaf(m: Mutator) -> Changed:
    number, block = m.block()
    place = m.draw.randrange(len(block.leaves))
    leaf = block.leaves[place]
    return _with_leaf(m, number, block, place, leaf[: m.draw.randrange(len(leaf))], "entry cut")


def truncate_part(m: Mutator) -> Changed:
    form = m.draw.choice(("edge", "proof", "note", "chain", "body"))
    if form == "edge":
        number, made = m.block()
        side = m.draw.choice(("left", "right", "hashes"))
        setattr(made, side, getattr(made, side)[: -m.draw.choice((1, 32))])
    elif form == "proof":
        number, made = _head(m)
        made.proof = made.proof[: -m.draw.choice((1, 32))]
    elif form == "note":
        number, made = _head(m)
        made.checkpoint = made.checkpoint[: m.draw.randrange(len(made.checkpoint))]
    elif form == "chain":
        number, made = _trust(m)
        del made.chain[-1]
    else:
        what = m.draw.choice(("request", "response"))
        number, made = _attachment(m, what)
        signed = getattr(made, what)
        signed.body = signed.body[: m.draw.randrange(len(signed.body))]
    return _replaced(m, number, made, f"{form} cut")


# -- swap signature --------------------------------------------------------------------------------------


def swap_between_entries(m: Mutator) -> Changed:
    fits, name = m.draw.choice(((_is_exchange, "request_signature"), (_is_answered, "response_signature")))
    number, block, place, entry = m.entry(fits)
    _, _, _, other = m.entry(fits)
    getattr(entry.exchange, name).CopyFrom(getattr(other.exchange, name))
    if entry.SerializeToString() == block.leaves[place]:
        raise Unfit
    return _with_leaf(m, number, block, place, entry.SerializeToString(), name)


def swap_within_entry(m: Mutator) -> Changed:
    number, block, place, entry = m.entry(_is_answered)
    said, held = entry.exchange, common_pb2.Signature()
    held.CopyFrom(said.request_signature)
    said.request_signature.CopyFrom(said.response_signature)
    said.response_signature.CopyFrom(held)
    return _with_leaf(m, number, block, place, entry.SerializeToString(), "both signatures")


def swap_act_signature(m: Mutator) -> Changed:
    number, block, place, entry = m.entry(_is_signed_act)
    _, _, _, other = m.entry(_is_signed_act)
    entry.administrative.statement.signature = other.administrative.statement.signature
    if entry.SerializeToString() == block.leaves[place]:
        raise Unfit
    return _with_leaf(m, number, block, place, entry.SerializeToString(), "signature of an act")


def swap_trust_signature(m: Mutator) -> Changed:
    number, statement = _trust(m)
    _, _, _, other = m.entry(_is_signed_act)
    statement.signature = other.administrative.statement.signature
    return _replaced(m, number, statement, "signature of a trust list")


def swap_head_line(m: Mutator) -> Changed:
    numbers = _heads(m)
    if len(numbers) < 2:
        raise Unfit
    one, two = m.draw.sample(numbers, 2)
    head, other = _head_at(m, one), _head_at(m, two)
    (text, lines), (_, others) = part_note(head.checkpoint), part_note(other.checkpoint)
    place = m.draw.randrange(len(lines))
    lines[place] = others[place]
    head.checkpoint = f"{text}\n" + "".join(f"{line}\n" for line in lines)
    return _replaced(m, one, head, "signature line of a head")


def swap_attached_signature(m: Mutator) -> Changed:
    number, made = _attachment(m, "request")
    _, other = _attachment(m, "response")
    made.request.signature.CopyFrom(other.response.signature)
    return _replaced(m, number, made, "signature of an attachment")


# -- swap certificate ------------------------------------------------------------------------------------


def swap_act_chain(m: Mutator) -> Changed:
    number, block, place, entry = m.entry(_is_signed_act)
    _, _, _, other = m.entry(_is_signed_act)
    chain = entry.administrative.statement.chain
    chain[0] = other.administrative.statement.chain[0]
    if entry.SerializeToString() == block.leaves[place]:
        raise Unfit
    return _with_leaf(m, number, block, place, entry.SerializeToString(), "certificate of an act")


def swap_issuer(m: Mutator) -> Changed:
    number, block, place, entry = m.entry(_is_signed_act)
    foreign = m.stranger.sign(b"", b"").chain
    chain = entry.administrative.statement.chain
    chain[-1] = foreign[-1]
    return _with_leaf(m, number, block, place, entry.SerializeToString(), "issuer of an act")


def swap_bundle(m: Mutator) -> Changed:
    def is_bundle(entry: audit_pb2.AuditEntry) -> bool:
        return entry.administrative.act == audit_pb2.ACT_BUNDLE

    number, block, place, entry = m.entry(is_bundle)
    _, _, _, other = m.entry(is_bundle)
    entry.administrative.statement.CopyFrom(other.administrative.statement)
    if entry.SerializeToString() == block.leaves[place]:
        raise Unfit
    return _with_leaf(m, number, block, place, entry.SerializeToString(), "key bundle")


def swap_trust_chain(m: Mutator) -> Changed:
    number, statement = _trust(m)
    signer = m.draw.choice((m.stranger, m.log.auditor, m.log.region.admin, m.log.health_agent))
    chain = signer.sign(b"", b"").chain
    form = m.draw.choice(("leaf", "whole", "added", "signed"))
    if form == "leaf":
        statement.chain[0] = chain[0]
    elif form == "added":
        statement.chain.append(chain[0])
    elif form == "signed":
        from exchange.canonical import TRUST_LIST

        statement.CopyFrom(signer.sign(TRUST_LIST, statement.body))
    else:
        del statement.chain[:]
        statement.chain.extend(chain)
    return _replaced(m, number, statement, f"certificates of a trust list: {form}")


# -- older checkpoint ------------------------------------------------------------------------------------


def older_in_place(m: Mutator) -> Changed:
    numbers = _heads(m)
    target = numbers[-1]
    head, older = _head_at(m, target), _head_at(m, m.draw.choice(numbers[:-1]))
    form = m.draw.choice(("note", "text", "signatures"))
    if form == "note":
        head.checkpoint = older.checkpoint
    else:
        text, lines = part_note((older if form == "text" else head).checkpoint)
        lines = part_note((older if form == "signatures" else head).checkpoint)[1]
        head.checkpoint = f"{text}\n" + "".join(f"{line}\n" for line in lines)
    return _replaced(m, target, head, f"newest head: older {form}")


def older_as_newest(m: Mutator) -> Changed:
    numbers = _heads(m)
    keep = m.draw.randrange(1, len(numbers))
    items = m.copy()
    del items[numbers[keep] : numbers[-1] + 1]
    target = numbers[keep - 1]
    if m.draw.random() < 0.7:
        head = _head_at(m, target)
        head.proof = b""
        put(items, target, head)
    return Changed(items, "newer heads taken out", {target, target + 1})


def older_alone(m: Mutator) -> Changed:
    numbers = _heads(m)
    head = _head_at(m, m.draw.choice(numbers[:-1]))
    head.proof, head.ordinal = b"", 0
    items = m.copy()
    del items[numbers[0] + 1 : numbers[-1] + 1]
    put(items, numbers[0], head)
    return Changed(items, "an older head alone", {numbers[0], numbers[0] + 1})


def older_of_receipt(m: Mutator) -> Changed:
    number, made = _attachment(m, "receipt")
    receipt, note = from_tlog_proof(made.receipt)
    older = _head_at(m, m.draw.choice(_heads(m)[:-1])).checkpoint
    if older == note:
        raise Unfit
    made.receipt = to_tlog_proof(receipt, older)
    return _replaced(m, number, made, "older checkpoint of a receipt")


# -- split view ------------------------------------------------------------------------------------------


def _forged(m: Mutator, note: str) -> str:
    """Another head of that size: signed by another key, or with the signatures of the honest one."""
    text, lines = part_note(note)
    honest = parse_checkpoint(text)
    forged = Checkpoint(ORIGIN, honest.size, m.draw.randbytes(32))
    if m.draw.random() < 0.5:
        return FOREIGN_LOG.sign(forged) + "".join(f"{line}\n" for line in lines[1:])
    return f"{forged.text}\n" + "".join(f"{line}\n" for line in lines)


def split_head(m: Mutator) -> Changed:
    number, head = _head(m)
    head.checkpoint = _forged(m, head.checkpoint)
    return _replaced(m, number, head, "another root")


def split_receipt(m: Mutator) -> Changed:
    number, made = _attachment(m, "receipt")
    receipt, note = from_tlog_proof(made.receipt)
    made.receipt = to_tlog_proof(receipt, _forged(m, note))
    return _replaced(m, number, made, "receipt of another view")


def split_added(m: Mutator) -> Changed:
    """A forged head beside the honest ones."""
    number, head = _head(m)
    head.checkpoint = _forged(m, head.checkpoint)
    items = m.copy()
    items.insert(number + m.draw.choice((0, 1)), (Kind.HEAD, head.SerializeToString(deterministic=True)))
    return Changed(items, "a forged head put in", {number, number + 1})


CHANGES: dict[str, tuple[Change, ...]] = {
    "edit": (
        edit_leaf,
        edit_claim,
        edit_outcome,
        edit_time,
        edit_block,
        edit_head,
        edit_trust,
        edit_policy,
        edit_attachment,
    ),
    "delete": (delete_record, delete_block, delete_leaf, delete_line),
    "reorder": (reorder_records, reorder_leaves, reorder_lines),
    "truncate": (truncate_records, truncate_block, truncate_leaf, truncate_part),
    "swap signature": (
        swap_between_entries,
        swap_within_entry,
        swap_act_signature,
        swap_trust_signature,
        swap_head_line,
        swap_attached_signature,
    ),
    "swap certificate": (swap_act_chain, swap_issuer, swap_bundle, swap_trust_chain),
    "older checkpoint": (older_in_place, older_as_newest, older_alone, older_of_receipt),
    "split view": (split_head, split_receipt, split_added),
}
