"""Swapped signatures and certificates, older checkpoints and split views; see `evidence_mutations`."""

from exchange.canonical import TRUST_LIST
from exchange.checkpoint import Checkpoint, parse_checkpoint, part_note
from exchange.evidence.records import Kind
from exchange.receipt import from_tlog_proof, to_tlog_proof
from exchange.v1 import audit_pb2, common_pb2
from tests.support.evidence_choices import (
    Change,
    all_heads,
    head_at,
    is_answered,
    is_exchange,
    is_signed_act,
    replaced,
    some_attachment,
    some_head,
    some_trust,
    with_leaf,
)
from tests.support.evidence_mutations import FOREIGN_LOG, Changed, Mutator, Unfit, put
from tests.support.region import ORIGIN

# -- swap signature --------------------------------------------------------------------------------------


def swap_between_entries(m: Mutator) -> Changed:
    fits, name = m.draw.choice(((is_exchange, "request_signature"), (is_answered, "response_signature")))
    number, block, place, entry = m.entry(fits)
    _, _, _, other = m.entry(fits)
    getattr(entry.exchange, name).CopyFrom(getattr(other.exchange, name))
    if entry.SerializeToString() == block.leaves[place]:
        raise Unfit
    return with_leaf(m, number, block, place, entry.SerializeToString(), name)


def swap_within_entry(m: Mutator) -> Changed:
    number, block, place, entry = m.entry(is_answered)
    said, held = entry.exchange, common_pb2.Signature()
    held.CopyFrom(said.request_signature)
    said.request_signature.CopyFrom(said.response_signature)
    said.response_signature.CopyFrom(held)
    return with_leaf(m, number, block, place, entry.SerializeToString(), "both signatures")


def swap_act_signature(m: Mutator) -> Changed:
    number, block, place, entry = m.entry(is_signed_act)
    _, _, _, other = m.entry(is_signed_act)
    entry.administrative.statement.signature = other.administrative.statement.signature
    if entry.SerializeToString() == block.leaves[place]:
        raise Unfit
    return with_leaf(m, number, block, place, entry.SerializeToString(), "signature of an act")


def swap_trust_signature(m: Mutator) -> Changed:
    number, statement = some_trust(m)
    _, _, _, other = m.entry(is_signed_act)
    statement.signature = other.administrative.statement.signature
    return replaced(m, number, statement, "signature of a trust list")


def swap_head_line(m: Mutator) -> Changed:
    numbers = all_heads(m)
    if len(numbers) < 2:
        raise Unfit
    one, two = m.draw.sample(numbers, 2)
    head, other = head_at(m, one), head_at(m, two)
    (text, lines), (_, others) = part_note(head.checkpoint), part_note(other.checkpoint)
    place = m.draw.randrange(len(lines))
    lines[place] = others[place]
    head.checkpoint = f"{text}\n" + "".join(f"{line}\n" for line in lines)
    return replaced(m, one, head, "signature line of a head")


def swap_attached_signature(m: Mutator) -> Changed:
    number, made = some_attachment(m, "request")
    _, other = some_attachment(m, "response")
    made.request.signature.CopyFrom(other.response.signature)
    return replaced(m, number, made, "signature of an attachment")


# -- swap certificate ------------------------------------------------------------------------------------


def swap_act_chain(m: Mutator) -> Changed:
    number, block, place, entry = m.entry(is_signed_act)
    _, _, _, other = m.entry(is_signed_act)
    chain = entry.administrative.statement.chain
    chain[0] = other.administrative.statement.chain[0]
    if entry.SerializeToString() == block.leaves[place]:
        raise Unfit
    return with_leaf(m, number, block, place, entry.SerializeToString(), "certificate of an act")


def swap_issuer(m: Mutator) -> Changed:
    number, block, place, entry = m.entry(is_signed_act)
    foreign = m.stranger.sign(b"", b"").chain
    chain = entry.administrative.statement.chain
    chain[-1] = foreign[-1]
    return with_leaf(m, number, block, place, entry.SerializeToString(), "issuer of an act")


def swap_bundle(m: Mutator) -> Changed:
    def is_bundle(entry: audit_pb2.AuditEntry) -> bool:
        return entry.administrative.act == audit_pb2.ACT_BUNDLE

    number, block, place, entry = m.entry(is_bundle)
    _, _, _, other = m.entry(is_bundle)
    entry.administrative.statement.CopyFrom(other.administrative.statement)
    if entry.SerializeToString() == block.leaves[place]:
        raise Unfit
    return with_leaf(m, number, block, place, entry.SerializeToString(), "key bundle")


def swap_trust_chain(m: Mutator) -> Changed:
    number, statement = some_trust(m)
    signer = m.draw.choice((m.stranger, m.log.auditor, m.log.region.admin, m.log.health_agent))
    chain = signer.sign(b"", b"").chain
    form = m.draw.choice(("leaf", "whole", "added", "signed"))
    if form == "leaf":
        statement.chain[0] = chain[0]
    elif form == "added":
        statement.chain.append(chain[0])
    elif form == "signed":
        statement.CopyFrom(signer.sign(TRUST_LIST, statement.body))
    else:
        del statement.chain[:]
        statement.chain.extend(chain)
    return replaced(m, number, statement, f"certificates of a trust list: {form}")


# -- older checkpoint ------------------------------------------------------------------------------------


def older_in_place(m: Mutator) -> Changed:
    numbers = all_heads(m)
    target = numbers[-1]
    head, older = head_at(m, target), head_at(m, m.draw.choice(numbers[:-1]))
    form = m.draw.choice(("note", "text", "signatures"))
    if form == "note":
        head.checkpoint = older.checkpoint
    else:
        text, lines = part_note((older if form == "text" else head).checkpoint)
        lines = part_note((older if form == "signatures" else head).checkpoint)[1]
        head.checkpoint = f"{text}\n" + "".join(f"{line}\n" for line in lines)
    return replaced(m, target, head, f"newest head: older {form}")


def older_as_newest(m: Mutator) -> Changed:
    numbers = all_heads(m)
    keep = m.draw.randrange(1, len(numbers))
    items = m.copy()
    del items[numbers[keep] : numbers[-1] + 1]
    target = numbers[keep - 1]
    if m.draw.random() < 0.7:
        head = head_at(m, target)
        head.proof = b""
        put(items, target, head)
    return Changed(items, "newer heads taken out", {target, target + 1})


def older_alone(m: Mutator) -> Changed:
    numbers = all_heads(m)
    head = head_at(m, m.draw.choice(numbers[:-1]))
    head.proof, head.ordinal = b"", 0
    items = m.copy()
    del items[numbers[0] + 1 : numbers[-1] + 1]
    put(items, numbers[0], head)
    return Changed(items, "an older head alone", {numbers[0], numbers[0] + 1})


def older_of_receipt(m: Mutator) -> Changed:
    number, made = some_attachment(m, "receipt")
    receipt, note = from_tlog_proof(made.receipt)
    older = head_at(m, m.draw.choice(all_heads(m)[:-1])).checkpoint
    if older == note:
        raise Unfit
    made.receipt = to_tlog_proof(receipt, older)
    return replaced(m, number, made, "older checkpoint of a receipt")


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
    number, head = some_head(m)
    head.checkpoint = _forged(m, head.checkpoint)
    return replaced(m, number, head, "another root")


def split_receipt(m: Mutator) -> Changed:
    number, made = some_attachment(m, "receipt")
    receipt, note = from_tlog_proof(made.receipt)
    made.receipt = to_tlog_proof(receipt, _forged(m, note))
    return replaced(m, number, made, "receipt of another view")


def split_added(m: Mutator) -> Changed:
    """A forged head beside the honest ones."""
    number, head = some_head(m)
    head.checkpoint = _forged(m, head.checkpoint)
    items = m.copy()
    items.insert(number + m.draw.choice((0, 1)), (Kind.HEAD, head.SerializeToString(deterministic=True)))
    return Changed(items, "a forged head put in", {number, number + 1})


SWAPS: dict[str, tuple[Change, ...]] = {
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
