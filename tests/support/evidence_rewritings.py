"""What whoever has no key does to the bytes of a bundle, and how an operator rewrites a log."""

from collections.abc import Callable

from exchange.evidence.records import Kind, frame
from exchange.v1 import audit_pb2, common_pb2
from tests.support.evidence import Kept
from tests.support.evidence_mutations import Mutator, Raw, Rewritten, Unfit, where

# -- bytes -----------------------------------------------------------------------------------------------


def edit_byte(m: Mutator) -> Raw:
    content = m.files[m.base]
    at = m.draw.randrange(len(content))
    number = where(content, at)
    changed = content[:at] + bytes([content[at] ^ m.draw.randrange(1, 256)]) + content[at + 1 :]
    return Raw(changed, f"byte {at}", {number, number + 1})


def delete_bytes(m: Mutator) -> Raw:
    content = m.files[m.base]
    at = m.draw.randrange(len(content))
    end = min(len(content), at + m.draw.choice((1, 2, 32, 700)))
    number = where(content, at)
    return Raw(content[:at] + content[end:], f"{end - at} bytes at {at}", {number, number + 1})


def reorder_bytes(m: Mutator) -> Raw:
    content, size = m.files[m.base], m.draw.choice((1, 8, 32, 500))
    one, two = sorted(m.draw.sample(range(len(content) - size), 2))
    if two - one < size:
        raise Unfit
    first, second = content[one : one + size], content[two : two + size]
    changed = content[:one] + second + content[one + size : two] + first + content[two + size :]
    if changed == content:
        raise Unfit
    places = {where(content, at) for at in (one, one + size, two, two + size)}
    return Raw(changed, f"{size} bytes at {one} and {two}", places | {place + 1 for place in places})


def truncate_bytes(m: Mutator) -> Raw:
    content = m.files[m.base]
    at = m.draw.randrange(len(content))
    return Raw(content[:at], f"at {at}", {where(content, at)})


def swap_manifest_signature(m: Mutator) -> Raw:
    other = common_pb2.Statement.FromString(m.manifests[(m.base + 1) % len(m.manifests)])
    statement = common_pb2.Statement.FromString(m.manifests[m.base])
    statement.signature = other.signature
    return _with_manifest(m, statement, "signature of the manifest")


def swap_manifest_chain(m: Mutator) -> Raw:
    statement = common_pb2.Statement.FromString(m.manifests[m.base])
    signer = m.draw.choice((m.stranger, m.log.officer, m.log.health_agent))
    chain = signer.sign(b"", b"").chain
    if m.draw.random() < 0.5:
        statement.chain[0] = chain[0]
    else:
        del statement.chain[:]
        statement.chain.extend(chain)
    return _with_manifest(m, statement, "certificate of the manifest")


def _with_manifest(m: Mutator, statement: common_pb2.Statement, how: str) -> Raw:
    content, old = m.files[m.base], frame(Kind.MANIFEST, m.manifests[m.base])
    new = frame(Kind.MANIFEST, statement.SerializeToString(deterministic=True))
    return Raw(content[: -len(old)] + new, how, {len(m.items[m.base])})


RAW: dict[str, Callable[[Mutator], Raw]] = {
    "edit": edit_byte,
    "delete": delete_bytes,
    "reorder": reorder_bytes,
    "truncate": truncate_bytes,
    "swap signature": swap_manifest_signature,
    "swap certificate": swap_manifest_chain,
}

# -- the log ---------------------------------------------------------------------------------------------


def _exchange(m: Mutator) -> tuple[int, audit_pb2.AuditEntry, Kept]:
    index = m.draw.choice(list(m.log.kept))
    return index, audit_pb2.AuditEntry.FromString(m.log.leaves[index]), m.log.kept[index]


def _act(m: Mutator) -> tuple[int, audit_pb2.AuditEntry]:
    parsed = [(n, audit_pb2.AuditEntry.FromString(leaf)) for n, leaf in enumerate(m.log.leaves)]
    return m.draw.choice([(n, one) for n, one in parsed if one.administrative.HasField("statement")])


def _with(m: Mutator, index: int, entry: audit_pb2.AuditEntry, how: str) -> Rewritten:
    leaves = list(m.log.leaves)
    if (leaf := entry.SerializeToString()) == leaves[index]:
        raise Unfit
    leaves[index] = leaf
    return Rewritten(m.clone(leaves), f"{how} of entry {index}")


def rewrite_claim(m: Mutator) -> Rewritten:
    index, entry, _ = _exchange(m)
    name = m.draw.choice(("case_number", "operator", "purpose", "matter", "rule", "hop"))
    setattr(entry.exchange, name, f"x{m.draw.randrange(1000)}")
    return _with(m, index, entry, name)


def rewrite_time(m: Mutator) -> Rewritten:
    index = m.draw.randrange(m.log.size)
    entry = audit_pb2.AuditEntry.FromString(m.log.leaves[index])
    entry.time_ms += m.draw.randrange(1, 10**7)
    return _with(m, index, entry, "time")


def erase_entry(m: Mutator) -> Rewritten:
    leaves = list(m.log.leaves)
    index = m.draw.randrange(len(leaves))
    del leaves[index]
    return Rewritten(m.clone(leaves), f"entry {index} erased")


def exchange_places(m: Mutator) -> Rewritten:
    leaves = list(m.log.leaves)
    one, two = m.draw.sample(range(len(leaves)), 2)
    leaves[one], leaves[two] = leaves[two], leaves[one]
    return Rewritten(m.clone(leaves), f"entries {one} and {two} change places")


def cut_off(m: Mutator) -> Rewritten:
    """Later entries gone, a new head signed; sometimes others in their place."""
    keep = m.draw.randrange(len(m.log.leaves) // 2, len(m.log.leaves))
    if keep in m.log.notes:
        raise Unfit
    return Rewritten(m.clone(m.log.leaves[:keep]), f"cut at {keep}")


def rewrite_signature(m: Mutator) -> Rewritten:
    index, entry, _ = _exchange(m)
    _, other, _ = _exchange(m)
    entry.exchange.request_signature.CopyFrom(other.exchange.request_signature)
    return _with(m, index, entry, "request signature")


def rewrite_certificate(m: Mutator) -> Rewritten:
    index, entry = _act(m)
    _, other = _act(m)
    chain = entry.administrative.statement.chain
    chain[0] = other.administrative.statement.chain[0]
    return _with(m, index, entry, "certificate")


def show_older(m: Mutator) -> Rewritten:
    """The honest log as it was: a head that was signed and cosigned then, and nothing after it."""
    size = m.draw.choice(sorted(m.log.notes)[:-1])
    made = m.clone(m.log.leaves[:size])
    made.notes = {one: note for one, note in m.log.notes.items() if one <= size}
    return Rewritten(made, f"as it was at {size}")


def fork(m: Mutator) -> Rewritten:
    """Another history from some entry on, as long or longer."""
    at = m.draw.randrange(1, len(m.log.leaves))
    leaves = list(m.log.leaves[:at])
    for leaf in m.log.leaves[at:] + m.log.leaves[-1:] * m.draw.randrange(3):
        entry = audit_pb2.AuditEntry.FromString(leaf)
        entry.salt = m.draw.randbytes(16)
        leaves.append(entry.SerializeToString())
    return Rewritten(m.clone(leaves), f"another history from {at}")


def _either(*ways: Callable[[Mutator], Rewritten]) -> Callable[[Mutator], Rewritten]:
    return lambda m: m.draw.choice(ways)(m)


REWRITINGS: dict[str, Callable[[Mutator], Rewritten]] = {
    "edit": _either(rewrite_claim, rewrite_time),
    "delete": erase_entry,
    "reorder": exchange_places,
    "truncate": cut_off,
    "swap signature": rewrite_signature,
    "swap certificate": rewrite_certificate,
    "older checkpoint": show_older,
    "split view": fork,
}
