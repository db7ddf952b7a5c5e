"""What a newcomer starts from: annotated files filled in, a process set up, an application let in."""

import tomllib
from pathlib import Path

import pytest

from agent.config import AgentConfig
from agent.config import load as load_agent
from agent.consumer.credentials import Credentials
from certs.config import AuthorityConfig
from exchange.clock import SystemClock, system_random
from exchange.configuration import ProcessConfig
from exchange.enrolment_file import EnrolmentFile
from exchange.errors import AuthorityAway, BadConfiguration
from gateway.config import GatewayConfig
from shuqiao import examples, installing
from shuqiao.context import read_context
from shuqiao.enrolling import context_text
from tests.support.command_region import HOUSEHOLD, Person, Region, Shuqiao

APPLICATION = ("--purpose", "newborn", "--resource", "970100/*", "--operator", "op-1")


@pytest.mark.parametrize(
    ("name", "model"), [("authority", AuthorityConfig), ("gateway", GatewayConfig), ("agent", AgentConfig)]
)
def test_an_annotated_configuration_filled_in_is_valid_and_keeps_its_comments(
    name: str, model: type[ProcessConfig]
) -> None:
    text = installing.configuration_text(name, Path("here/east.toml"), {})
    told = model.model_validate(tomllib.loads(text))
    assert (told.folder, told.passphrase_file) == (Path("east"), Path("east.passphrase"))
    assert text.count("#") > 5
    assert "[[" not in text


def test_the_example_of_a_source_goes_at_the_end_of_an_agents_configuration() -> None:
    text = installing.configuration_text("agent", Path("agent.toml"), {}) + examples.read("source")
    told = AgentConfig.model_validate(tomllib.loads(text))
    catalogue = tomllib.loads(examples.read("resource"))
    assert [one.id for one in told.resource] == [catalogue["id"]]
    levels = {one["name"]: one["level"] for one in catalogue["fields"]}
    assert {one.name: one.level for one in told.resource[0].fields} == levels


def test_a_key_that_an_annotated_file_lacks_is_a_fault() -> None:
    with pytest.raises(BadConfiguration, match=r"listen\.harbour"):
        examples.fill("[listen]\nport = 1\n", {("listen", "harbour"): 2})


def test_an_example_is_printed_as_it_is_and_an_unknown_one_names_those_there_are(shuqiao: Shuqiao) -> None:
    assert shuqiao("example", "grant").out == examples.read("grant")
    assert "organisation" in shuqiao("example", "--json").document["examples"]
    ran = shuqiao("example", "../agent", "--json")
    assert ran.code == 2
    assert "organisation" in ran.document["error"]["subject"]


@pytest.fixture
def agent_toml(tmp_path: Path) -> Path:
    file = tmp_path / "health.toml"
    file.write_text(installing.configuration_text("agent", file, {("local", "grpc"): "127.0.0.1:7481"}))
    return file


def _application(shuqiao: Shuqiao, config: Path, out: Path, name: str = "counter") -> int:
    return shuqiao(
        "agent", "application", name, "--config", str(config), "--out", str(out), *APPLICATION
    ).code


def test_an_application_gets_a_token_that_the_agent_knows_and_a_context_that_works(
    shuqiao: Shuqiao, agent_toml: Path, tmp_path: Path
) -> None:
    assert _application(shuqiao, agent_toml, tmp_path / "counter") == 0
    credentials = Credentials(settings=load_agent(agent_toml).local.application)
    context = read_context(tmp_path / "counter" / "context.toml")
    token = context.agent_token_file.read_text().strip()
    application = credentials.application(f"Bearer {token}")
    application.check("970100/public-security/household", "newborn", "any", "op-1")
    assert (application.name, context.agent) == ("counter", "127.0.0.1:7481")
    assert context.agent_token_file.stat().st_mode & 0o777 == 0o600
    assert token not in agent_toml.read_text()


def test_a_name_that_is_taken_and_one_that_is_wrong_change_nothing(
    shuqiao: Shuqiao, agent_toml: Path, tmp_path: Path
) -> None:
    assert _application(shuqiao, agent_toml, tmp_path / "one") == 0
    before = agent_toml.read_text()
    assert _application(shuqiao, agent_toml, tmp_path / "two") == 2
    assert _application(shuqiao, agent_toml, tmp_path / "three", name="Not A Name") == 2
    assert _application(shuqiao, agent_toml, tmp_path / "one", name="other") == 2
    assert agent_toml.read_text() == before
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_dir() and each.name != "identity") == [
        "one"
    ]


@pytest.fixture
def enrolment(person: Person) -> EnrolmentFile:
    return EnrolmentFile(
        enrolment_address="127.0.0.1:1",
        service_address="127.0.0.1:1",
        root_pem=person.root_pem(),
        gateways=(),
        identity=person.identity(),
        token="t-1.secret",
    )


@pytest.mark.parametrize("held", [False, True])
def test_a_set_up_that_fails_leaves_no_configuration_behind_but_keeps_the_one_there_was(
    tmp_path: Path, enrolment: EnrolmentFile, held: bool
) -> None:
    config = tmp_path / "health.toml"
    text = installing.configuration_text("agent", config, {})
    if held:
        config.write_text(text + "# mine\n")
    with pytest.raises(AuthorityAway):
        installing.set_up(
            enrolment, config, text=lambda: text, load=load_agent, clock=SystemClock(), random=system_random
        )
    assert config.exists() is held
    assert not held or config.read_text().endswith("# mine\n")
    assert (tmp_path / "health.passphrase").stat().st_mode & 0o777 == 0o600


def test_an_address_without_a_port_is_a_usage_error(
    shuqiao: Shuqiao, tmp_path: Path, enrolment: EnrolmentFile
) -> None:
    file = tmp_path / "gateway.json"
    file.write_bytes(enrolment.to_json())
    config = tmp_path / "gateway.toml"
    ran = shuqiao("gateway", "init", str(file), "--config", str(config), "--address", "nowhere", "--json")
    assert ran.code == 2
    assert ran.document["error"]["subject"] == "--address nowhere"
    assert not config.exists()


def test_a_context_that_is_kept_beside_its_files_can_be_moved_with_them(
    tmp_path: Path, enrolment: EnrolmentFile
) -> None:
    folder = tmp_path / "people" / "li"
    text = context_text(
        enrolment,
        identity=folder / "identity",
        keys=folder / "identity" / "keys",
        passphrase_file=tmp_path / "passphrase",
        beside=folder,
    )
    elsewhere = tmp_path / "usb" / "context.toml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(text)
    context = read_context(elsewhere)
    assert context.identity == tmp_path / "usb" / "identity"
    assert context.passphrase_file == tmp_path / "passphrase"
    assert not context.has("gateway")


def test_a_folder_stands_for_the_context_inside_it(shuqiao: Shuqiao, context_file: Path) -> None:
    ran = shuqiao("org", "list", "--as", str(context_file.parent), context=Path("none.toml"))
    assert ran.code == 0


def test_a_context_without_a_gateway_takes_the_one_that_the_trust_list_names(
    shuqiao: Shuqiao, region: Region, context_file: Path
) -> None:
    lines = [line for line in context_file.read_text().splitlines() if not line.startswith("gateway")]
    context_file.write_text("\n".join(lines))
    away = shuqiao("org", "list", "--json")
    assert away.document["error"]["code"] == "GATEWAY_AWAY"
    region.trust_list.gateways[0].addresses.append(region.address)
    region.trust_list.number += 1
    assert shuqiao("org", "list").code == 0


def test_the_catalogue_names_the_resource_of_the_example_grant() -> None:
    assert tomllib.loads(examples.read("grant"))["resource"] == HOUSEHOLD
