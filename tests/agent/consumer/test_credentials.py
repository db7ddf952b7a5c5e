import socket

import pytest
from pydantic import ValidationError

from agent.consumer.addresses import listen, parse_address
from agent.consumer.credentials import ApplicationSettings, Credentials, hash_token, new_token
from agent.consumer.local_api import LocalApi, LocalApiSettings
from exchange.errors import ApplicationNotAllowed, BadConfiguration, NoIdentity
from tests.support.fake_asker import FakeAsker


def _settings(name: str = "wards", **parts: object) -> ApplicationSettings:
    return ApplicationSettings(**{"name": name, "purposes": ["p"], "resources": ["r"], **parts})


def test_a_token_is_known_by_its_hash_alone():
    token, token_hash = new_token()
    credentials = Credentials(settings=[_settings(token_hash=token_hash)])
    assert len(token) == 43
    assert token not in token_hash
    assert credentials.application(f"Bearer {token}").name == "wards"


def test_two_applications_are_told_apart():
    tokens = [new_token() for _ in range(2)]
    settings = [_settings(f"a{place}", token_hash=each[1]) for place, each in enumerate(tokens)]
    credentials = Credentials(settings=settings)
    assert [credentials.application(f"bearer {each[0]}").name for each in tokens] == ["a0", "a1"]


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic x", "Bearer é\udcff", "Bearer nobody"]
)
def test_a_header_that_is_nobodys_is_refused_without_repeating_it(header):
    credentials = Credentials(settings=[_settings(token_hash=hash_token("x"))])
    with pytest.raises(NoIdentity) as caught:
        credentials.application(header)
    assert "nobody" not in str(caught.value)


def test_a_file_may_hold_two_hashes_while_a_token_is_changed(tmp_path):
    tokens = [new_token() for _ in range(2)]
    path = tmp_path / "hashes"
    path.write_text("\n".join(each[1] for each in tokens))
    credentials = Credentials(settings=[_settings(token_hash_file=path)])
    assert all(credentials.application(f"Bearer {each[0]}").name == "wards" for each in tokens)


@pytest.mark.parametrize("content", ["", "plain-token", "sha256:12"])
def test_a_file_without_hashes_is_refused(tmp_path, content):
    path = tmp_path / "hashes"
    path.write_text(content)
    with pytest.raises(BadConfiguration):
        Credentials(settings=[_settings(token_hash_file=path)])


def test_a_missing_file_a_shared_token_and_a_shared_name_are_refused(tmp_path):
    token_hash = hash_token("x")
    with pytest.raises(BadConfiguration):
        Credentials(settings=[_settings(token_hash_file=tmp_path / "none")])
    with pytest.raises(BadConfiguration, match="shares its token"):
        Credentials(settings=[_settings("a", token_hash=token_hash), _settings("b", token_hash=token_hash)])
    with pytest.raises(BadConfiguration, match="two applications"):
        Credentials(settings=[_settings(token_hash=hash_token("y")), _settings(token_hash=token_hash)])


@pytest.mark.parametrize("parts", [{}, {"token_hash": "x"}, {"token_hash": hash_token("x"), "colour": 1}])
def test_faulty_settings_are_refused(parts):
    with pytest.raises(ValidationError):
        _settings(**parts)


def test_resources_may_be_named_singly_by_prefix_or_all():
    def allowed(resources: list[str], resource: str) -> bool:
        token, token_hash = new_token()
        credentials = Credentials(settings=[_settings(token_hash=token_hash, resources=resources)])
        try:
            credentials.application(f"Bearer {token}").check(resource, "p", "", "")
        except ApplicationNotAllowed:
            return False
        return True

    assert allowed(["970100/tax/premium"], "970100/tax/premium")
    assert not allowed(["970100/tax/premium"], "970100/tax/premiums")
    assert allowed(["970100/tax/*"], "970100/tax/premium")
    assert not allowed(["970100/tax/*"], "970100/taxes/premium")
    assert allowed(["*"], "anything")


@pytest.mark.parametrize(
    "address", ["", "7480", "host:80", "127.0.0.1:x", "127.0.0.1:70000", "unix:///" + "x" * 120]
)
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(BadConfiguration):
        parse_address(address)


@pytest.mark.parametrize("settings", [{"http": "0.0.0.0:0"}, {"grpc": "0.0.0.0:0"}])
def test_a_face_beyond_this_machine_is_refused(settings):
    with pytest.raises(BadConfiguration, match="loopback"):
        LocalApi(settings=LocalApiSettings(**settings), asker=FakeAsker(), hop="h")


def test_small_answers_are_not_held_back_on_tcp():
    with listen(parse_address("127.0.0.1:0")) as sock:
        assert sock.proto == socket.IPPROTO_TCP


async def test_a_taken_port_or_file_is_refused_and_nothing_is_left_running(tmp_path):
    (tmp_path / "file").write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for settings in (
            {"grpc": f"unix://{tmp_path}/a.sock", "http": f"127.0.0.1:{port}"},
            {"grpc": f"unix://{tmp_path}/file"},
            {"http": f"unix://{tmp_path}/file"},
            {"grpc": f"127.0.0.1:{port}"},
        ):
            api = LocalApi(settings=LocalApiSettings(**settings), asker=FakeAsker(), hop="h")
            with pytest.raises(BadConfiguration):
                await api.start()
    assert not (tmp_path / "a.sock").exists()
    assert (tmp_path / "file").read_text() == "x"


async def test_a_socket_left_by_a_killed_process_is_replaced(tmp_path):
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    for settings in ({"grpc": f"unix://{path}"}, {"http": f"unix://{path}"}):
        api = LocalApi(settings=LocalApiSettings(**settings), asker=FakeAsker(), hop="h")
        await api.start()
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
        await api.stop(grace_s=0)
