"""How a program uses the package; read by mypy, never run."""

from typing import assert_type

import shuqiao


def ask() -> list[str]:
    names: list[str] = []
    with shuqiao.connect("unix:///run/shuqiao/agent.sock", token_file="token") as client:
        assert_type(client, shuqiao.Client)
        answer = client.query(
            "970100/public-security/household",
            fields=["name"],
            parameters={"citizen_id": "970102199001010011"},
            purpose="newborn",
            case="LJ-1",
            timeout_s=5,
        )
        assert_type(answer, shuqiao.Answer)
        for record in answer.records:
            name = record["name"]
            if isinstance(name, str):
                names.append(name)
        verification = client.verify("r", claims={"married": True})
        assert_type(verification.results, dict[str, bool | None])
        for outcome in client.query_many([shuqiao.Query(resource="r", parameters={"n": 1})]):
            if isinstance(outcome, shuqiao.ExchangeError):
                names.append(outcome.sentence.zh)
            else:
                assert_type(outcome, shuqiao.Answer)
    return names


async def ask_later() -> shuqiao.Receipt | None:
    async with shuqiao.connect_async("127.0.0.1:7481", token_file="token") as client:
        assert_type(client, shuqiao.AsyncClient)
        async for outcome in client.query_many([]):
            assert_type(outcome, shuqiao.Answer | shuqiao.ExchangeError)
        return (await client.query("r")).receipt
