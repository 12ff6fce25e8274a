#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""quant-serve on the small trained model, by Python's own http.client: answers, streams, limits, bad requests, many clients, its end.

    python3 test/e2e/test_serve.py --bin build/bin [unittest arguments]
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

from tiny import Tiny

PROMPT = "The captain looked out upon the sea, and"


class Running:
    """A server on a port of its own, ended by SIGTERM."""

    def __init__(self, tiny: Tiny, *arguments: object) -> None:
        self.process = subprocess.Popen(tiny.command("quant-serve", "--port", 0, *arguments), stderr=subprocess.PIPE, text=True)
        self.said = ""
        while not (found := re.search(r"listening at http://[^:]+:(\d+)/", self.said)):
            line = self.process.stderr.readline()
            if not line:
                raise RuntimeError(f"quant-serve ended: {self.said}")
            self.said += line
        self.port = int(found[1])

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        status = self.process.wait(60)
        self.said += self.process.stderr.read()
        self.process.stderr.close()
        return status

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def call(self, method: str, path: str, body: bytes | str | None = None, headers: dict | None = None) -> tuple[int, bytes]:
        connection = self.connection()
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, data

    def post(self, path: str, body: object, **headers: str) -> tuple[int, dict]:
        data = body if isinstance(body, (bytes, str)) else json.dumps(body)
        status, answer = self.call("POST", path, data, {"Content-Type": "application/json", **headers})
        return status, json.loads(answer)

    def events(self, path: str, body: dict) -> list:
        """The data of a stream's events; [DONE] must be the last."""
        status, data = self.call("POST", path, json.dumps(body | {"stream": True}), {"Content-Type": "application/json"})
        assert status == 200, data
        lines = [line.removeprefix("data: ") for line in data.decode().split("\n\n") if line.startswith("data: ")]
        assert lines.pop() == "[DONE]", data
        return [json.loads(line) for line in lines]


class Serve(unittest.TestCase):
    tiny: Tiny
    server: Running

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Running(cls.tiny, "--sequences", 4, "--max-body", 1, "--model-name", "tiny")

    @classmethod
    def tearDownClass(cls) -> None:
        assert cls.server.end() == 0, cls.server.said

    def complete(self, **more: object) -> dict:
        status, answer = self.server.post("/v1/completions", {"model": "tiny", "prompt": PROMPT, "temperature": 0} | more)
        self.assertEqual(status, 200, answer)
        return answer

    def expect_error(self, body: object, status: int, message: str, path: str = "/v1/completions") -> None:
        got, answer = self.server.post(path, body)
        self.assertEqual(got, status, answer)
        self.assertIn(message, answer["error"]["message"])

    def test_small_paths(self) -> None:
        self.assertEqual(self.server.call("GET", "/health"), (200, b'{"status":"ok"}'))
        models = json.loads(self.server.call("GET", "/v1/models")[1])
        self.assertEqual([model["id"] for model in models["data"]], ["tiny"])
        self.assertEqual(self.server.call("GET", "/v1/models/tiny")[0], 200)
        self.assertEqual(self.server.call("GET", "/v1/models/other")[0], 404)
        status, page = self.server.call("GET", "/")
        self.assertEqual(status, 200)
        self.assertIn(b"/v1/chat/completions", page)
        self.assertNotRegex(page, rb"(src|href)=.https?:")  # works offline
        status, answer = self.server.call("GET", "/nothing")
        self.assertEqual(status, 404)
        self.assertIn("no such path", json.loads(answer)["error"]["message"])

    def test_completion_is_quant_runs(self) -> None:
        command = self.tiny.command("quant-run", "--prompt", PROMPT, "--max-new-tokens", 20, "--json")
        expected = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        answer = self.complete(max_tokens=20)
        self.assertEqual(answer["choices"][0]["text"], expected["text"])
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")
        self.assertEqual(answer["usage"], {"prompt_tokens": len(expected["prompt"]), "completion_tokens": 20, "total_tokens": len(expected["prompt"]) + 20})
        by_ids = self.complete(prompt=expected["prompt"], max_tokens=20)
        self.assertEqual(by_ids["choices"][0]["text"], expected["text"])

    def test_several_prompts_and_choices(self) -> None:
        answer = self.complete(prompt=[PROMPT, "Psalm 151"], n=2, temperature=1, seed=3, max_tokens=8)
        self.assertEqual([choice["index"] for choice in answer["choices"]], [0, 1, 2, 3])
        self.assertEqual(len({choice["text"] for choice in answer["choices"]}), 4)
        self.assertEqual(answer["usage"]["completion_tokens"], 32)
        again = self.complete(prompt=[PROMPT, "Psalm 151"], n=2, temperature=1, seed=3, max_tokens=8)
        self.assertEqual([choice["text"] for choice in again["choices"]], [choice["text"] for choice in answer["choices"]])

    def test_stop_strings(self) -> None:
        whole = self.complete(max_tokens=40)["choices"][0]["text"]
        stop = whole[20:24]
        choice = self.complete(max_tokens=40, stop=["never there", stop])["choices"][0]
        self.assertEqual((choice["text"], choice["finish_reason"]), (whole[: whole.index(stop)], "stop"))
        streamed = self.server.events("/v1/completions", {"prompt": PROMPT, "temperature": 0, "max_tokens": 40, "stop": stop})
        self.assertEqual("".join(chunk["choices"][0]["text"] for chunk in streamed), whole[: whole.index(stop)])

    def test_stream_is_the_whole(self) -> None:
        body = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "max_tokens": 24, "n": 2}
        status, whole = self.server.post("/v1/chat/completions", body)
        self.assertEqual(status, 200, whole)
        chunks = self.server.events("/v1/chat/completions", body | {"stream_options": {"include_usage": True}})
        self.assertEqual(chunks.pop()["usage"], whole["usage"])
        for index in (0, 1):
            deltas = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
            self.assertEqual(deltas[0]["delta"]["role"], "assistant")
            self.assertEqual(deltas[-1]["finish_reason"], whole["choices"][index]["finish_reason"])
            self.assertEqual("".join(delta["delta"].get("content", "") for delta in deltas), whole["choices"][index]["message"]["content"])
        self.assertEqual(len({chunk["id"] for chunk in chunks}), 1)

    def test_logprobs(self) -> None:
        text = self.complete(max_tokens=3, logprobs=2)["choices"][0]
        self.assertEqual("".join(text["logprobs"]["tokens"]), text["text"])
        self.assertEqual([len(top) for top in text["logprobs"]["top_logprobs"]], [2, 2, 2])
        body = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "max_tokens": 3, "logprobs": True, "top_logprobs": 3}
        content = self.server.post("/v1/chat/completions", body)[1]["choices"][0]["logprobs"]["content"]
        for one in content:
            self.assertEqual(one["top_logprobs"][0]["token"], one["token"])
            self.assertEqual(len(one["top_logprobs"]), 3)
            self.assertLessEqual(one["logprob"], 0)

    def test_content_in_parts(self) -> None:
        parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
        answers = [self.server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 8})
                   for content in ("Hello", parts)]  # fmt: skip
        self.assertEqual(answers[0][1]["choices"], answers[1][1]["choices"])

    def test_bad_requests(self) -> None:
        chat = "/v1/chat/completions"
        user = [{"role": "user", "content": "x"}]
        self.expect_error(b'{"prompt": "x"', 400, "the body is no JSON: line 1")
        self.expect_error(b'{"prompt": "\xff\xfe"}', 400, "the body is no JSON")
        self.expect_error(b'{"prompt": "x", "prompt": "y"}', 400, "the body is no JSON")
        self.expect_error("[" * 10000, 400, "the body is no JSON")
        self.expect_error("[]", 400, "the body is no JSON object")
        self.expect_error(json.dumps({"prompt": "x", "a": [{f"k{i}": 0 for i in range(1001)}]}), 400, "an object has 1001 keys, more than 1000")
        self.expect_error({"prompt": "x", "model": "gpt-4"}, 404, "model 'gpt-4' is not here; this server has 'tiny'")
        self.expect_error({}, 400, "prompt is missing")
        self.expect_error({"prompt": []}, 400, "prompt is []")
        self.expect_error({"prompt": {"a": 1}}, 400, "prompt is {")
        self.expect_error({"prompt": [0, 99999]}, 400, "prompt has id 99999, the vocabulary has 0 to 1535")
        self.expect_error({"prompt": [0, -1]}, 400, "prompt is")
        self.expect_error({"prompt": "x", "max_tokens": "many"}, 400, 'max_tokens is "many", not an integer')
        self.expect_error({"prompt": "x", "max_tokens": 5000}, 400, "max_tokens is 5000, after a prompt of 2 tokens there can be 1023")
        self.expect_error({"prompt": "word " * 3000}, 400, "the context 1024 rows")
        self.expect_error({"prompt": "x", "temperature": -1}, 400, "temperature is -1, not a number from 0 to 100")
        self.expect_error({"prompt": "x", "temperature": True}, 400, "temperature is true")
        self.expect_error({"prompt": "x", "n": 0}, 400, "n is 0, not an integer from 1 to 16")
        self.expect_error({"prompt": "x", "n": 1.5}, 400, "n is 1.5")
        self.expect_error({"prompt": "x", "stop": [1]}, 400, "stop has 1, not a text")
        self.expect_error({"prompt": "x", "stop": ["a"] * 17}, 400, "stop has more than 16 texts")
        self.expect_error({"prompt": "x", "frequency_penalty": 1}, 400, "frequency_penalty 1 is not supported")
        self.expect_error({"prompt": "x", "colour": 1}, 400, "colour is no field that this server knows")
        self.expect_error({"prompt": "x", "stream_options": {}}, 400, "stream_options")
        self.expect_error({"messages": []}, 400, "messages is no list with at least one message", chat)
        self.expect_error({"messages": [{"role": "poet", "content": "x"}]}, 400, 'messages[0] has role "poet"', chat)
        self.expect_error({"messages": [{"role": "user"}]}, 400, "messages[0] has content null", chat)
        self.expect_error({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "only texts are supported", chat)
        self.expect_error({"messages": user, "response_format": {"type": "json_object"}}, 400, "response_format", chat)
        self.expect_error({"messages": user, "top_logprobs": 2}, 400, "top_logprobs needs logprobs", chat)
        self.expect_error(json.dumps({"prompt": "x" * (2 << 20)}), 413, "the body is larger than 1 MiB")
        status, answer = self.server.call("POST", "/v1/completions", '{"prompt": "x"}', {"Content-Type": "text/plain"})
        self.assertEqual(status, 415, answer)

    def test_no_http_at_all(self) -> None:
        for data in (b"\x00\xff" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"POST /v1/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"G"):
            with socket.create_connection(("127.0.0.1", self.server.port), timeout=30) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1000)
        self.assertEqual(self.server.call("GET", "/health")[0], 200)

    def test_many_clients_get_their_own_answers(self) -> None:
        """More clients than sequences, some of which go away in the middle: nobody's answer depends on the others."""
        prompts = {f"{name} said unto": None for name in ("Moses", "Emma", "Ahab", "Elizabeth")}
        for prompt in prompts:
            prompts[prompt] = self.complete(prompt=prompt, max_tokens=30)["choices"][0]["text"]
        failures: list[object] = []

        def client(number: int) -> None:
            draw = random.Random(number)
            for _ in range(4):
                prompt = draw.choice(list(prompts))
                body = {"prompt": prompt, "temperature": 0, "max_tokens": 30}
                if draw.randrange(3) == 0:  # goes away
                    connection = self.server.connection()
                    connection.request("POST", "/v1/completions", json.dumps(body | {"stream": True}), {"Content-Type": "application/json"})
                    connection.getresponse().read(draw.randint(1, 200))
                    connection.sock.close()
                    continue
                status, answer = self.server.post("/v1/completions", body)
                if status != 200 or answer["choices"][0]["text"] != prompts[prompt]:
                    failures.append((prompt, status, answer))

        threads = [threading.Thread(target=client, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def metric(self, name: str) -> int:
        return int(re.search(rf"^{name} (\d+)$", self.server.call("GET", "/metrics")[1].decode(), re.M)[1])

    def test_prompts_that_begin_alike_share_pages(self) -> None:
        story = " ".join(f"{number} men went up the hill, and came down again." for number in range(2, 20))
        first = self.complete(prompt=story + " Then", max_tokens=8)
        self.assertGreater(first["usage"]["prompt_tokens"], 100)
        before = self.metric("quant_prompt_tokens_reused_total")
        again = self.complete(prompt=story + " Then", max_tokens=8)
        self.assertEqual(again["choices"][0]["text"], first["choices"][0]["text"])
        self.assertGreaterEqual(self.metric("quant_prompt_tokens_reused_total") - before, 64)
        # What no sequence holds is free, whether its contents are known or not.
        self.assertEqual(self.metric("quant_cache_pages_free"), self.metric("quant_cache_pages"))

    def test_choices_come_side_by_side(self) -> None:
        body = {"prompt": PROMPT, "temperature": 1, "seed": 7, "max_tokens": 12}
        alone = [self.complete(**(body | {"seed": 7 + choice}))["choices"][0]["text"] for choice in range(3)]
        together = self.complete(**(body | {"n": 3}))
        self.assertEqual([choice["text"] for choice in together["choices"]], alone)
        self.assertEqual(together["usage"]["completion_tokens"], 36)
        streamed = ["", "", ""]
        for event in self.server.events("/v1/completions", body | {"n": 3}):
            for choice in event["choices"]:
                streamed[choice["index"]] += choice["text"]
        self.assertEqual(streamed, alone)

    def test_metrics(self) -> None:
        self.complete(max_tokens=5)
        text = self.server.call("GET", "/metrics")[1].decode()
        self.assertRegex(text, r'quant_http_answers_total\{path="/v1/completions",status="200"\} [1-9]')
        self.assertGreaterEqual(int(re.search(r"^quant_new_tokens_total (\d+)$", text, re.M)[1]), 5)
        self.assertRegex(text, r"(?m)^quant_requests_waiting 0$")
        for line in text.splitlines():
            self.assertRegex(line, r"^(# (HELP|TYPE) .*|[a-z_]+(\{.*\})? [0-9.e+-]+)$")


class Guesses(unittest.TestCase):
    def test_answers_stay_the_same(self) -> None:
        """With --mtp, side by side, whether a guess ends the answer, a stop string does, or the room that it was promised."""
        tiny = Tiny(Serve.tiny.binaries, "--mtp")
        bodies = [{"prompt": f"{name} said unto", "temperature": 0, "max_tokens": count, "stop": stop}
                  for name in ("Moses", "Emma", "Ahab") for count, stop in ((1, None), (2, None), (31, None), (60, "the"))]  # fmt: skip
        answers: dict[str, list] = {}
        for mtp in ([], ["--mtp"]):
            server = Running(tiny, "--sequences", 4, "--cache-tokens", 1024, "--context", 256, *mtp)
            results: list = [None] * len(bodies)

            def client(number: int, server: Running = server, results: list = results) -> None:
                results[number] = server.post("/v1/completions", bodies[number])[1]["choices"]

            threads = [threading.Thread(target=client, args=(number,)) for number in range(len(bodies))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            answers["with" if mtp else "without"] = results
            metrics = server.call("GET", "/metrics")[1].decode()
            guesses, right = (int(re.search(rf"^quant_mtp_{name}_total (\d+)$", metrics, re.M)[1]) for name in ("guesses", "right_guesses"))
            self.assertEqual(server.end(), 0, server.said)
            self.assertEqual(guesses > 0, bool(mtp))
            self.assertGreaterEqual(right, guesses // 2)
        self.assertEqual(answers["without"], answers["with"])


class Limits(unittest.TestCase):
    tiny: Tiny

    def test_api_key(self) -> None:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("secret\n")
            file.flush()
            server = Running(self.tiny, "--api-key-file", file.name)
            for headers, status in (({}, 401), ({"Authorization": "Bearer wrong"}, 401), ({"Authorization": "Bearer secret"}, 200)):
                self.assertEqual(server.call("GET", "/v1/models", headers=headers)[0], status)
            self.assertEqual(server.call("GET", "/metrics")[0], 401)
            self.assertEqual(server.call("GET", "/health")[0], 200)
            self.assertEqual(server.end(), 0)

    def test_clients_tokens_and_time(self) -> None:
        server = Running(self.tiny, "--max-clients", 1, "--max-tokens", 900, "--timeout", 1)
        body = {"prompt": "x", "temperature": 0, "max_tokens": 900, "stream": True, "n": 16}
        status, answer = server.post("/v1/completions", {"prompt": "x", "max_tokens": 901})
        self.assertEqual(status, 400, answer)
        connection = server.connection()
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read(10)
        status, answer = server.post("/v1/completions", {"prompt": "x"})
        self.assertEqual((status, answer["error"]["message"]), (503, "1 requests are at work or waiting already"))
        start = time.monotonic()
        response.read()  # ends at the time limit
        self.assertLess(time.monotonic() - start, 20)
        connection.close()
        self.assertEqual(server.end(), 0)

    def test_ends_while_answers_run(self) -> None:
        for how in (signal.SIGTERM, signal.SIGINT):
            server = Running(self.tiny)
            connection = server.connection()
            body = {"prompt": "x", "temperature": 0, "max_tokens": 1000, "stream": True, "n": 16}
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read(10)
            self.assertEqual(server.end(how), 0, server.said)
            connection.close()

    def test_refuses_to_start(self) -> None:
        def refusal(*arguments: object) -> tuple[int, str]:
            done = subprocess.run(self.tiny.command("quant-serve", *arguments), capture_output=True, text=True, timeout=60)
            return done.returncode, done.stderr

        self.assertEqual(refusal("--sequences", 0)[0], 2)
        self.assertIn("the API key, is empty", refusal("--api-key-file", "/dev/null")[1])
        self.assertIn("context is 4096", refusal("--context", 4096)[1])
        server = Running(self.tiny)
        status, said = refusal("--port", server.port)
        self.assertEqual(status, 1)
        self.assertIn("cannot listen at 127.0.0.1 port", said)
        self.assertEqual(server.end(), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Other arguments go to unittest.")
    parser.add_argument("--bin", type=Path, required=True, help="the build's bin directory")
    arguments, rest = parser.parse_known_args()
    Serve.tiny = Limits.tiny = Tiny(arguments.bin)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
