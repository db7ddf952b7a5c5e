from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from exchange.checkpoint import verifier_key
from exchange.cosignature import WitnessKey
from exchange.errors import BadConfiguration
from exchange.witness_policy import MAX_POLICY_BYTES, WitnessPolicy, parse_policy

ORIGIN = "970100.yunchuan.example/gateway-1"


def public(seed: int) -> bytes:
    return bytes(SigningKey(seed.to_bytes(32, "big")).verify_key)


LOG = verifier_key(ORIGIN, public(99))
KEYS = {name: WitnessKey(f"{name}.example", public(seed)) for seed, name in enumerate("abcdef", 1)}
WITNESSES = "".join(f"witness {name} {key.text}\n" for name, key in KEYS.items())


def policy(text: str) -> WitnessPolicy:
    return parse_policy(text.encode())


def faults(text: str | bytes) -> str:
    with pytest.raises(BadConfiguration) as caught:
        parse_policy(text if isinstance(text, bytes) else text.encode())
    return caught.value.subject


def quorums(read: WitnessPolicy) -> set[str]:
    """Every set of witnesses that is a quorum, as the letters of its names."""
    sets = (chosen for count in range(7) for chosen in combinations("abcdef", count))
    return {"".join(chosen) for chosen in sets if read.reached([KEYS[name] for name in chosen])}


def test_a_policy_is_read_whole() -> None:
    read = policy(
        f"# who counts\n\n \tlog\t{LOG} https://log.example/\n"
        f"witness a {KEYS['a'].text} https://a.example/w/\n"
        f"witness b {KEYS['b'].text}\n group both all a b \nquorum both\n"
    )
    assert [(log.origin, log.public_key, log.url) for log in read.logs] == [
        (ORIGIN, public(99), "https://log.example")
    ]
    assert [(w.name, w.key, w.url) for w in read.witnesses] == [
        ("a", KEYS["a"], "https://a.example/w"),
        ("b", KEYS["b"], ""),
    ]
    assert (read.groups[0].threshold, read.groups[0].members, read.quorum) == (2, ("a", "b"), "both")


def test_two_of_three_and_one_of_three_together_make_the_specifications_quorum() -> None:
    read = policy(WITNESSES + "group x 2 a b c\ngroup y any d e f\ngroup x-and-y all x y\nquorum x-and-y\n")
    expected = {
        "".join(chosen)
        for count in range(7)
        for chosen in combinations("abcdef", count)
        if len(set(chosen) & set("abc")) >= 2 and set(chosen) & set("def")
    }
    assert quorums(read) == expected


def test_a_single_witness_may_be_the_quorum() -> None:
    assert all("b" in chosen for chosen in quorums(policy(WITNESSES + "quorum b\n")))


def test_none_needs_nobody() -> None:
    assert policy("quorum none").reached([])


def test_witnesses_that_the_policy_does_not_name_do_not_count() -> None:
    read = policy(f"witness a {KEYS['a'].text}\nquorum a\n")
    assert not read.reached([KEYS["b"], WitnessKey("a", KEYS["a"].public_key)])


def test_every_fault_is_told_with_its_line() -> None:
    told = faults(
        f"witness a {KEYS['a'].text}\nwitness a {KEYS['b'].text}\nlog {KEYS['a'].text}\n"
        "group g 3 a\ngroup h any a z\nbanana\nquorum q\n"
    )
    for number in range(2, 8):
        assert f"line {number}:" in told
    assert "line 1:" not in told


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "# quorum none",
        "quorum none\nquorum none",
        "quorum",
        "quorum none none",
        "quorum a",
        "quorum g\ngroup g any a",
        "Quorum none",
        "quorum none\nlog",
        f"quorum none\nlog {LOG}\nlog {LOG}",
        f"quorum none\nlog {LOG} a b",
        f"quorum none\nlog {LOG} ftp://x",
        f"quorum none\nlog {LOG} https://user@x/",
        f"quorum none\nlog {LOG} https://x/?q",
        f"quorum none\nlog {KEYS['a'].text}",
        f"quorum none\nwitness none {KEYS['a'].text}",
        f"quorum none\nwitness z {LOG}",
        f"quorum none\nwitness z {KEYS['a'].text[:-1]}",
        f"{WITNESSES}quorum none\nwitness z {KEYS['a'].text}",
        f"{WITNESSES}quorum none\nwitness z {WitnessKey('other', public(1)).text}",
        f"{WITNESSES}quorum none\ngroup a any b",
        f"{WITNESSES}quorum none\ngroup none any b",
        f"{WITNESSES}quorum none\ngroup g any",
        f"{WITNESSES}quorum none\ngroup g any g",
        f"{WITNESSES}quorum none\ngroup g any none",
        f"{WITNESSES}quorum none\ngroup g 0 a",
        f"{WITNESSES}quorum none\ngroup g 01 a",
        f"{WITNESSES}quorum none\ngroup g 3 a b",
        f"{WITNESSES}quorum none\ngroup g +1 a b",
        f"{WITNESSES}quorum none\ngroup g ¹ a b",
        f"{WITNESSES}quorum none\ngroup g any a a",
        f"{WITNESSES}quorum none\ngroup g any a\ngroup h any a",
        "quorum none\r\n",
        "quorum none\v",
        "quorum\u00a0none",
    ],
)
def test_a_policy_that_breaks_a_rule_is_refused(lines: str) -> None:
    assert faults(lines)


def test_names_are_octets_and_not_what_they_look_like() -> None:
    kelvin = f"witness K {KEYS['a'].text}\nquorum K".replace("quorum K", "quorum \u212a")
    assert "not defined" in faults(kelvin)
    raw = b"witness \xff\xfe " + KEYS["a"].text.encode() + b"\nquorum \xff\xfe\n"
    assert parse_policy(raw).reached([KEYS["a"]])
    assert "not defined" in faults(raw.replace(b"quorum \xff", b"quorum \xfd"))


def test_32_witnesses_groups_and_logs_are_read_and_no_more() -> None:
    def lines(count: int) -> str:
        return "".join(
            f"log {verifier_key('l', public(500 + n))}\n"
            f"witness w{n} {WitnessKey('w', public(1000 + n)).text}\ngroup g{n} any w{n}\n"
            for n in range(count)
        )

    assert len(policy(lines(32) + "quorum g0").groups) == 32
    assert faults(lines(33) + "quorum g0").count("more than 32") == 3


def test_a_file_beyond_64_kib_is_refused_unread() -> None:
    assert parse_policy(b"quorum none\n".ljust(MAX_POLICY_BYTES, b"#")[:12] + b"#" * 100)
    assert "bytes" in faults(b"#" * (MAX_POLICY_BYTES + 1))


@given(st.binary(max_size=300))
def test_no_content_makes_the_parser_fail_otherwise_than_by_refusal(content: bytes) -> None:
    for tried in (content, WITNESSES.encode() + content, b"group g any " + content):
        try:
            parse_policy(tried)
        except BadConfiguration:
            continue
