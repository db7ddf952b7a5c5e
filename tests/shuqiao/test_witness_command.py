"""A witness is set up, run and looked at from the command line; readers see who cosigned the log."""

from pathlib import Path

import pytest
from nacl.signing import SigningKey

from exchange.checkpoint import verifier_key
from exchange.configuration import read_passphrase
from exchange.cosignature import add_lines, parse_witness_key
from exchange.keystore import FileKeyStore
from exchange.v1 import audit_pb2
from tests.support.command_region import Region, Shuqiao, exchange_leaf, state_leaf
from tests.support.witnesses import GrowingLog, StillClock, cosigner
from witness.app import cosigner_of
from witness.config import load
from witness.judge import Witness
from witness.store import DATABASE, SqliteWitnessStore

TIME_S = 1_780_000_000


def init(shuqiao: Shuqiao, config: Path, *more: str) -> dict[str, str]:
    ran = shuqiao(
        "audit", "witness", "init", "--config", str(config), "--name", "witness.example/w1", "--json", *more
    )
    assert ran.code == 0, ran.out + ran.err
    return dict(ran.document)


def test_a_witness_is_set_up_with_a_key_that_stays(shuqiao: Shuqiao, tmp_path: Path) -> None:
    config = tmp_path / "w" / "witness.toml"
    log = GrowingLog(1).signer.verifier_key
    made = init(shuqiao, config, "--listen", "127.0.0.1:7999", "--log", log)
    assert parse_witness_key(made["key"]).name == "witness.example/w1"
    told = load(config)
    assert (told.listen.host, told.listen.port, told.logs) == ("127.0.0.1", 7999, (log,))
    assert cosigner_of(told).key.text == made["key"]
    assert init(shuqiao, config)["key"] == made["key"]
    assert (
        "witness.example/w1+"
        in shuqiao("audit", "witness", "init", "--config", str(config), "--name", "witness.example/w1").out
    )


def test_both_lines_of_a_key_file_are_taken_while_a_log_changes_its_key(
    shuqiao: Shuqiao, tmp_path: Path
) -> None:
    old, new = (verifier_key("log.example/one", bytes([n]) * 32) for n in (1, 2))
    init(shuqiao, tmp_path / "witness.toml", "--log", f"{new}\n{old}\n")
    assert load(tmp_path / "witness.toml").logs == (new, old)


def test_the_key_is_encrypted_at_rest(shuqiao: Shuqiao, tmp_path: Path) -> None:
    config = tmp_path / "witness.toml"
    init(shuqiao, config)
    told = load(config)
    raw = FileKeyStore(folder=told.folder / "keys", passphrase=read_passphrase(told.passphrase_file)).get(
        "witness"
    )
    assert raw is not None
    assert bytes(SigningKey(raw).verify_key) == cosigner_of(told).key.public_key
    assert all(raw not in file.read_bytes() for file in told.folder.rglob("*") if file.is_file())


@pytest.mark.parametrize(("option", "value"), [("--name", "a b"), ("--log", "nonsense"), ("--listen", "x")])
def test_what_cannot_be_a_witness_leaves_no_configuration(
    shuqiao: Shuqiao, tmp_path: Path, option: str, value: str
) -> None:
    config = tmp_path / "witness.toml"
    arguments = {"--name": "w.example", option: value}
    flat = [part for pair in arguments.items() for part in pair]
    ran = shuqiao("audit", "witness", "init", "--config", str(config), "--json", *flat)
    assert ran.document["error"]["code"] == "BAD_CONFIGURATION"
    assert not config.exists()


def test_a_witness_that_lost_its_database_is_not_set_up_again(shuqiao: Shuqiao, tmp_path: Path) -> None:
    config = tmp_path / "witness.toml"
    init(shuqiao, config)
    (load(config).folder / DATABASE).unlink()
    ran = shuqiao("audit", "witness", "init", "--config", str(config), "--name", "w", "--json")
    assert ran.document["error"]["code"] == "STORE_DAMAGED"
    ran = shuqiao("audit", "witness", "serve", "--config", str(config), "--json")
    assert ran.document["error"]["code"] == "STORE_DAMAGED"


def test_what_a_witness_cosigned_is_shown(shuqiao: Shuqiao, tmp_path: Path) -> None:
    config, log = tmp_path / "witness.toml", GrowingLog(5)
    init(shuqiao, config, "--log", log.signer.verifier_key)
    told = load(config)
    store = SqliteWitnessStore(folder=told.folder)
    judge = Witness(cosigner=cosigner_of(told), logs=told.log_keys, store=store, clock=StillClock())
    assert judge.add_checkpoint(log.request(0)).status == 200
    shown = shuqiao("audit", "witness", "show", "--config", str(config), "--json").document
    assert [(one["origin"], one["size"], one["root"]) for one in shown["logs"]] == [
        (log.signer.origin, 5, log.head().root.hex())
    ]
    assert log.signer.origin in shuqiao("audit", "witness", "show", "--config", str(config)).out
    store.close()


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "witnesses.policy"
    lines = [f"witness w{seed} {cosigner(seed).key.text}" for seed in (1, 2, 3)]
    file.write_text("\n".join([*lines, "group g 2 w1 w2 w3", "quorum g"]))
    return file


def cosign(region: Region, *seeds: int) -> None:
    region.leaves = [state_leaf(1), exchange_leaf(audit_pb2.DECISION_RELEASED)]
    note, _ = region.checkpoint()
    text = note.rpartition("\n\n")[0] + "\n"
    lines = [cosigner(seed).cosign(text, time_s=TIME_S).line.rstrip("\n") for seed in seeds]
    region.witnessed = add_lines(note, lines) if lines else ""
    region.leaves.append(state_leaf(2))


def test_a_reader_sees_who_cosigned_and_that_it_is_a_quorum(
    shuqiao: Shuqiao, region: Region, policy: Path
) -> None:
    cosign(region, 1, 3)
    shown = shuqiao("audit", "witnesses", "--policy", str(policy), "--json").document
    assert (shown["size"], shown["witnessed_size"], shown["quorum"]) == (3, 2, True)
    assert [(one["name"], one["cosigned"]) for one in shown["witnesses"]] == [
        ("w1", True),
        ("w2", False),
        ("w3", True),
    ]
    assert shown["witnesses"][0]["time"].startswith("2026-05-28")
    assert "A quorum cosigned" in shuqiao("audit", "witnesses", "--policy", str(policy), lang="en").out


@pytest.mark.parametrize("seeds", [(), (2,), (2, 9)])
def test_less_than_a_quorum_is_told_and_ends_with_1(
    shuqiao: Shuqiao, region: Region, policy: Path, seeds: tuple[int, ...]
) -> None:
    cosign(region, *seeds)
    ran = shuqiao("audit", "witnesses", "--policy", str(policy), "--json")
    assert (ran.code, ran.document["quorum"]) == (1, False)


def test_without_a_policy_the_lines_are_shown_as_not_verified(shuqiao: Shuqiao, region: Region) -> None:
    cosign(region, 1)
    ran = shuqiao("audit", "witnesses", "--json")
    assert (ran.code, ran.document["quorum"]) == (0, None)
    assert [(one["name"], one["cosigned"]) for one in ran.document["witnesses"]] == [
        (cosigner(1).key.name, None)
    ]
    assert "未验证" in shuqiao("audit", "witnesses").out


def test_a_forged_cosignature_of_a_known_witness_is_refused(
    shuqiao: Shuqiao, region: Region, policy: Path
) -> None:
    cosign(region, 1, 2)
    blob = region.witnessed.splitlines()[-1].rpartition(" ")[2]
    forged = blob[:20] + ("A" if blob[20] != "A" else "B") + blob[21:]
    region.witnessed = region.witnessed.replace(blob, forged)
    ran = shuqiao("audit", "witnesses", "--policy", str(policy), "--json")
    assert (ran.code, ran.document["error"]["code"]) == (1, "RECEIPT_BROKEN")


def test_a_witnessed_head_above_the_newest_is_a_fork(shuqiao: Shuqiao, region: Region) -> None:
    cosign(region, 1)
    region.leaves = region.leaves[:1]
    ran = shuqiao("audit", "witnesses", "--json")
    assert (ran.code, ran.document["error"]["code"]) == (1, "LOG_FORKED")


def test_faults_of_a_policy_are_told_with_their_lines(
    shuqiao: Shuqiao, region: Region, tmp_path: Path
) -> None:
    cosign(region, 1)
    file = tmp_path / "bad.policy"
    file.write_text("nonsense\nquorum q\n")
    ran = shuqiao("audit", "witnesses", "--policy", str(file), "--json")
    assert ran.document["error"]["code"] == "BAD_CONFIGURATION"
    assert "line 1" in ran.document["error"]["subject"]
    assert "line 2" in ran.document["error"]["subject"]
