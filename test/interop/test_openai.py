#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A session of the `openai` client against quant-serve with models/tiny.

    python test/interop/test_openai.py --bin build/bin

Needs the PyPI package openai: `python3 -m venv /tmp/text && /tmp/text/bin/pip install openai`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import openai

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from test_serve import PROMPT, Running  # noqa: E402
from tiny import ROOT, Tiny  # noqa: E402

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


def session(client: openai.OpenAI) -> None:
    model = client.models.list().data[0].id
    assert client.models.retrieve(model).id == model
    whole = client.chat.completions.create(model=model, messages=MESSAGES, temperature=0, max_tokens=16, logprobs=True, top_logprobs=2)
    content = whole.choices[0].message.content
    assert content and whole.usage.completion_tokens == len(whole.choices[0].logprobs.content) == 16, whole
    assert whole.choices[0].finish_reason == "length"
    with client.chat.completions.create(model=model, messages=MESSAGES, temperature=0, max_tokens=16, stream=True, stream_options={"include_usage": True}) as stream:
        chunks = list(stream)
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == content
    with client.chat.completions.stream(model=model, messages=MESSAGES, temperature=0, max_completion_tokens=16) as events:
        assert "".join(event.delta for event in events if event.type == "content.delta") == content
    several = client.chat.completions.create(model=model, messages=MESSAGES, n=3, seed=7, max_tokens=8)
    again = client.chat.completions.create(model=model, messages=MESSAGES, n=3, seed=7, max_tokens=8)
    assert [one.message.content for one in several.choices] == [one.message.content for one in again.choices]
    text = client.completions.create(model=model, prompt=PROMPT, temperature=0, max_tokens=20, stop=" the", logprobs=1)
    assert " the" not in text.choices[0].text and text.choices[0].finish_reason == "stop", text
    streamed = client.completions.create(model=model, prompt=PROMPT, temperature=0, max_tokens=20, stop=" the", stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == text.choices[0].text
    client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=2, extra_body={"top_k": 5, "min_p": 0.1, "chat_template_kwargs": {"thinking": True}})


def errors(client: openai.OpenAI, port: int) -> None:
    for kind, change in ((openai.NotFoundError, {"model": "gpt-4"}), (openai.BadRequestError, {"temperature": -1}), (openai.BadRequestError, {"max_tokens": 10**6})):
        try:
            client.chat.completions.create(**{"model": "tiny", "messages": MESSAGES} | change)
            raise AssertionError(f"{change} was accepted")
        except kind as error:
            assert error.body["message"], error
    try:
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="wrong").models.list()
        raise AssertionError("a wrong key was accepted")
    except openai.AuthenticationError:
        pass


async def at_once(port: int) -> None:
    client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="secret")
    calls = [client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0, max_tokens=12) for _ in range(32)]
    answers = await asyncio.gather(*calls)
    assert len({answer.choices[0].message.content for answer in answers}) == 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=Path, default=ROOT / "build" / "bin")
    arguments = parser.parse_args()
    with tempfile.NamedTemporaryFile("w") as key:
        key.write("secret")
        key.flush()
        server = Running(Tiny(arguments.bin), "--api-key-file", key.name, "--sequences", 4)
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="secret", max_retries=0)
        session(client)
        errors(client, server.port)
        asyncio.run(at_once(server.port))
        client.close()
        assert server.end() == 0, server.said
    print(f"openai {openai.__version__}: the session passed")


if __name__ == "__main__":
    main()
