"""Edits, deletions, reorderings and truncations of the records of a bundle; see `evidence_mutations`."""

from exchange.checkpoint import part_note
from exchange.evidence.records import Kind
from exchange.v1 import audit_pb2
from tests.support.evidence_choices import (
    Change,
    is_exchange,
    replaced,
    some_attachment,
    some_head,
    some_trust,
    with_leaf,
)
from tests.support.evidence_mutations import Changed, Mutator, Unfit, put, rehash

# -- edit ------------------------------------------------------------------------------------------------


def edit_leaf(m: Mutator) -> Changed:
    number, block = m.block()
    place = m.draw.randrange(len(block.leaves))
    return with_leaf(m, number, block, place, m.flipped(block.leaves[place]), "byte of an entry")


def edit_claim(m: Mutator) -> Changed:
    number, block, place, entry = m.entry(is_exchange)
    name = m.draw.choice(
        ("purpose", "matter", "case_number", "operator", "resource", "consumer_organisation")
    )
    setattr(entry.exchange, name, getattr(entry.exchange, name) + m.draw.choice("xyz"))
    return with_leaf(m, number, block, place, entry.SerializeToString(), f"claim {name}")


def edit_outcome(m: Mutator) -> Changed:
    number, block, place, entry = m.entry(is_exchange)
    told = entry.exchange
    told.decision = audit_pb2.DECISION_REFUSED if told.decision == 1 else audit_pb2.DECISION_RELEASED
    return with_leaf(m, number, block, place, entry.SerializeToString(), "decision")


def edit_time(m: Mutator) -> Changed:
    number, block, place, entry = m.entry(lambda one: True)
    entry.time_ms += m.draw.choice((-1, 1)) * m.draw.randrange(1, 10**9)
    return with_leaf(m, number, block, place, entry.SerializeToString(), "time of an entry")


def edit_block(m: Mutator) -> Changed:
    number, block = m.block()
    form = m.draw.choice(("hashes", "left", "right", "first", "supporting", "ordinal", "peers"))
    entries: tuple[int, ...] = ()
    if form in ("hashes", "left", "right"):
        setattr(block, form, m.flipped(getattr(block, form)))
    elif form == "supporting":
        block.supporting = not block.supporting
        # Told at the block itself, at the next of the role it left, or where the entries end.
        changed = replaced(m, number, block, "role of a block")
        changed.records |= set(range(number, len(changed.items) + 1))
        return changed
    else:
        setattr(block, form, max(0, getattr(block, form) + m.draw.choice((-1, 1, 2, 64))))
    return replaced(m, number, block, f"{form} of a block", *entries)


def edit_head(m: Mutator) -> Changed:
    number, head = some_head(m)
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
    return replaced(m, number, head, f"{form} of a head")


def edit_trust(m: Mutator) -> Changed:
    number, statement = some_trust(m)
    form = m.draw.choice(("body", "signature", "chain"))
    if form == "chain":
        place = m.draw.randrange(len(statement.chain))
        statement.chain[place] = m.flipped(statement.chain[place])
    else:
        setattr(statement, form, m.flipped(getattr(statement, form)))
    return replaced(m, number, statement, f"{form} of a trust list")


def edit_policy(m: Mutator) -> Changed:
    number = m.of(Kind.POLICY)
    return replaced(m, number, m.flipped(m.items[m.base][number][1]), "policy")


def edit_attachment(m: Mutator) -> Changed:
    what = m.draw.choice(("request", "response", "receipt"))
    number, made = some_attachment(m, what)
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
    return replaced(m, number, made, f"{form} of an attached {what}")


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
    return replaced(m, number, block, f"entry: {form}")


def delete_line(m: Mutator) -> Changed:
    number, head = some_head(m)
    lines = head.checkpoint.splitlines(keepends=True)
    del lines[m.draw.randrange(len(lines))]
    head.checkpoint = "".join(lines)
    return replaced(m, number, head, "line of a checkpoint")


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
        return replaced(m, number, block, "entries, rehashed")
    items = m.copy()
    put(items, number, block)
    return Changed(items, "entries", set(), {block.first + one, block.first + two})


def reorder_lines(m: Mutator) -> Changed:
    number, head = some_head(m)
    text, lines = part_note(head.checkpoint)
    one, two = m.draw.sample(range(len(lines)), 2)
    lines[one], lines[two] = lines[two], lines[one]
    head.checkpoint = f"{text}\n" + "".join(f"{line}\n" for line in lines)
    return replaced(m, number, head, "signatures of a checkpoint")


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
        return replaced(m, number, block, f"{cut} entries, rehashed")
    items = m.copy()
    put(items, number, block)
    return Changed(items, f"{cut} entries", set(), set(range(block.first + left, block.first + left + cut)))


def truncate_leaf(m: Mutator) -> Changed:
    number, block = m.block()
    place = m.draw.randrange(len(block.leaves))
    leaf = block.leaves[place]
    return with_leaf(m, number, block, place, leaf[: m.draw.randrange(len(leaf))], "entry cut")


def truncate_part(m: Mutator) -> Changed:
    form = m.draw.choice(("edge", "proof", "note", "chain", "body"))
    if form == "edge":
        number, made = m.block()
        side = m.draw.choice(("left", "right", "hashes"))
        setattr(made, side, getattr(made, side)[: -m.draw.choice((1, 32))])
    elif form == "proof":
        number, made = some_head(m)
        made.proof = made.proof[: -m.draw.choice((1, 32))]
    elif form == "note":
        number, made = some_head(m)
        made.checkpoint = made.checkpoint[: m.draw.randrange(len(made.checkpoint))]
    elif form == "chain":
        number, made = some_trust(m)
        del made.chain[-1]
    else:
        what = m.draw.choice(("request", "response"))
        number, made = some_attachment(m, what)
        signed = getattr(made, what)
        signed.body = signed.body[: m.draw.randrange(len(signed.body))]
    return replaced(m, number, made, f"{form} cut")


EDITS: dict[str, tuple[Change, ...]] = {
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
}
