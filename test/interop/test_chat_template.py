#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Chat templates against Jinja2, set up as transformers sets it up.

    python test/interop/test_chat_template.py --bin build/bin [--templates DIR_OR_FILE]... [--rounds 2000] [--seed N]
    python test/interop/test_chat_template.py --make-golden test/tools/text/golden/templates.json

Needs the PyPI package jinja2. Tried are the templates of test/tools/text/templates (written here, in the formats of DeepSeek-V2, V3, V3.1
and Kimi-K2), that of models/tiny, those of --templates (*.jinja, or tokenizer_config.json files of models), and snippets, each with
conversations of all roles; then random mixtures of text, white space and tags. Where Jinja2 raises an error we must refuse, and
nothing may differ; what we alone refuse is counted, and wrong in the templates.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROOT = Path(__file__).resolve().parents[2]
BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"


def raise_exception(message: str) -> None:
    raise TemplateError(message)


def environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    made.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    made.globals["raise_exception"] = raise_exception
    return made


def call(name: str, arguments: object, number: int = 0) -> dict:
    return {"id": f"functions.{name}:{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def message(role: str, content: object, **more: object) -> dict:
    return {"role": role, "content": content, **more}


CONVERSATIONS = [
    [message("user", "Hello")],
    [],
    [message("system", "Be brief."), message("system", "Be kind."), message("user", "你好 😀 \"q\" \\ \n")],
    [message("user", "1+1?"), message("assistant", "<think>\nadd</think>2"), message("user", "2+2?")],
    [message("user", "Weather?"), message("assistant", None, tool_calls=[call("weather", '{"city": "Paris"}'), call("time", "{}", 1)]),
     message("tool", "sunny", tool_call_id="functions.weather:0"), message("tool", "noon", tool_call_id="functions.time:1")],
    [message("system", ""), message("user", "Weather?"), message("assistant", "I look.", tool_calls=[call("weather", {"city": "Köln", "n": 1.5, "x": [True, None]})]),
     message("tool", "rain", tool_call_id="a"), message("assistant", "It rains."), message("user", "Thanks"), message("assistant", "…", prefix=True)],
    [message("user", [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "x"}}], name="Ann")],
    [message("assistant", "only me", tool_calls=None, reasoning_content="why"), message("poet", "no such role")],
]  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "of a city, e.g. \"Köln\"\n", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "number", "minimum": 1e-7, "maximum": 1e16, "multipleOf": 2.0}}}}}]  # fmt: skip


def variables() -> list[dict]:
    settings = [{"add_generation_prompt": True}, {}, {"add_generation_prompt": True, "tools": TOOLS, "thinking": True}, {"enable_thinking": True, "tools": None}]
    return [{"messages": one, "bos_token": BOS, "eos_token": EOS, **setting} for one in CONVERSATIONS for setting in settings]


#: One thing each. In front of ## what is wrong in both or refused by us.
SNIPPETS = r"""
{{ 'a' + "b" 'c' ~ 1 ~ true ~ none ~ 1.5 }}
{{ 1 + 2 * 3 - 4 // 3 - 7 % 3 }}|{{ -7 // 2 }}|{{ -7 % 3 }}|{{ 7 / 2 }}|{{ 2 * 1.5 }}|{{ 1.0 }}|{{ 100000.0 * 100000.0 * 1000000.0 }}
{{ 1 < 2 and not 2 <= 1 or false }} {{ 'a' < 'b' }} {{ 1 == 1.0 }} {{ true == 1 }} {{ none == false }} {{ [1, 'a'] == [1, 'a'] }}
{{ 'b' in 'abc' }} {{ 2 in [1, 2] }} {{ 'x' not in {'x': 1} }} {{ 'x' in missing }} {{ not 1 in [2] }}
{{ missing }}|{{ missing is defined }}|{{ missing is not defined }}|{{ messages is defined and messages is iterable }}|{{ none is none }}
{{ 'a' is string }} {{ 1 is number }} {{ 1.0 is integer }} {{ true is boolean }} {{ {} is mapping }} {{ [] is sequence }} {{ true is true }}
{{ 'x' if missing }}|{{ 'x' if messages else 'y' }}|{{ missing or 'z' }}|{{ '' or none or 'last' }}|{{ 1 and 0 }}
{{ 'äbc'[0] }}{{ 'äbc'[-1] }}{{ 'äbc'[1:] }}{{ 'äbc'[:-1] }}{{ 'äbc'[::-1] }}{{ [1, 2, 3][9] }}{{ [1, 2, 3][1:] | length }}{{ 'abcdef'[1:5:2] }}{{ 'abcdef'[-100:100] }}{{ 'abc'[5:1] }}
{{ ' a '.strip() }}|{{ '\n a'.lstrip() }}|{{ 'a \u3000'.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'a,b,c'.split(',') | join('+') }}|{{ 'a,b,c'.split(',', 1)[1] }}|{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith('ab') }}
{{ 'Abc' | upper }}{{ 'ABC'.lower() }}{{ ' x ' | trim }}{{ 'aXbX' | replace('X', '--') }}{{ [1, 2] | join(', ') }}{{ [3, 4] | first }}{{ [3, 4] | last }}{{ 'ab' | list | join('.') }}{{ 5 | string }}
{{ {'b': 1, 'a': [true, none, 'é', 1.0, 0.5]} | tojson }}{{ 'a"\\\n\t\x7f' | tojson }}{{ [] | tojson }}{{ {} | tojson }}
{{ missing | default('d') }}{{ '' | default('d') }}{{ '' | default('d', true) }}{{ missing | d }}
{% for k, v in {'x': 1, 'y': 2}.items() %}{{ k }}={{ v }};{% endfor %}{% for k, v in {'x': 1} | items %}{{ k }}{{ v }}{% endfor %}{% for k in {'x': 1, 'y': 2} %}{{ k }}{% endfor %}
{% for c in 'aé' %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.previtem }}{{ loop.nextitem }}{{ c }} {% endfor %}
{% for i in [] %}x{% else %}empty{% endfor %}{% for i in missing %}x{% else %}none{% endfor %}{% for i in range(5) if i % 2 == 0 %}{{ i }}{{ loop.length }}{% else %}-{% endfor %}
{% for i in range(9) %}{% if i == 2 %}{% continue %}{% elif i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}{% for i in range(3, 0, -1) %}{{ i }}{% endfor %}
{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 5 %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 7 %}{% endif %}{{ x }}
{% set n = namespace(a=1, b='x') %}{% for i in [1, 2] %}{% set n.a = n.a + i %}{% set n.c = i %}{% endfor %}{{ n.a }}{{ n.b }}{{ n.c }}{{ n.d }}
{% macro m(a, b='q', c=none) %}[{{ a }}{{ b }}{{ c }}{{ top }}]{% endmacro %}{% set top = 't' %}{{ m(1) }}{{ m(1, 2) }}{{ m(b=3, a=4) }}{{ m() }}{% for top in ['inner'] %}{{ m(top) }}{% endfor %}{{ m('x') | upper }}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}
{% if false %}a{% elif true %}b{% elif true %}c{% else %}d{% endif %}{# comment #}e{#- another -#} f
{{ {'a': {'b': [1, {'c': 'deep'}]}}.a.b[1].c }}{{ {'a': 1}['a'] }}{{ {'a': 1}.b }}{{ {'a': 1}.get('b', 'none') }}{{ {'a': 1}.get('b') }}{{ {'a': 1, 'b': 2}.keys() | list | join }}{{ {'a': 1}.values() | list | first }}
{{ '\u00e9\x41\n\t\'\"\\\d' }}{{ "it's" }}{{ 'a
b' }}
{{ 'a' + 'b' | upper }}{{ ('a' + 'b') | upper }}{{ -1 | string }}{{ not true is true }}
{{ true and 'x' }}{{ [] or {} or 0 or 'end' }}{{ 3 if 1 else 2 if 0 else 1 }}{{ (1 if 0 else 2) ~ '' }}
{{ messages[0]['content'] }}{{ messages[0].role }}{{ messages[-1].content if messages else '' }}{{ messages | length }}
{{ missing.attribute }}
{{ missing['item'] }}
{{ missing + 'x' }}
{{ 'x' + 1 }}
{{ 1 / 0 }}
{{ none.x }}|
{{ [1][0].x }}|
{% for i in 5 %}{% endfor %}
{% set a.b = 1 %}
{{ raise_exception('no ' + 'way') }}
{{ undefined_function() }}
{% if %}{% endif %}
{% for x in %}{% endfor %}
{% if true %}
{{ 'open
{{ 1 +
{{ (1 }}
{% endif %}
{% else %}
{{ 1 2 }}
{{ | x }}
{{ 'a' | nonsense }}
{{ 'a' is nonsense }}
{% break %}
""".strip("\n").split("\n{")  # fmt: skip
SNIPPETS = [SNIPPETS[0], *("{" + rest for rest in SNIPPETS[1:])]

PIECES = ["\n", "\n", " ", "  ", "\t", "a", "b\n", "\n\n", "\r\n", " x ", "{{ 'v' }}", "{{- 'v' }}", "{{ 'v' -}}", "{{- 'v' -}}", "{{ ' ' }}", "{{ '\n' }}",
          "{# c #}", "{#- c #}", "{# c -#}", "{#- c -#}", "{#+ c +#}", "{% set x = 1 %}", "{%- set x = 1 %}", "{% set x = 1 -%}", "{%+ set x = 1 %}", "{% set x = 1 +%}",
          "{%- set x = 1 -%}", "{", "}", "%", "{'", "\u3000", "\u00a0", "é"]  # fmt: skip


def mixture(draw: random.Random) -> str:
    return "".join(draw.choice(PIECES) for _ in range(draw.randint(1, 14)))


def template_sources(paths: list[Path]) -> dict[str, str]:
    sources: dict[str, str] = {}
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix == ".jinja":
                sources[str(file)] = file.read_text()
            elif file.name.startswith("tokenizer_config") and "chat_template" in (config := json.loads(file.read_text())):
                sources[str(file)] = config["chat_template"]
    return sources


def theirs(source: str, given: dict) -> dict:
    try:
        return {"text": environment().from_string(source).render(**given)}
    except Exception as error:  # whatever Python says of it
        return {"error": f"{type(error).__name__}: {error}"}


def all_cases(paths: list[Path], mixtures: int, seed: int) -> list[tuple[str, str, dict]]:
    draw = random.Random(seed)
    cases = [(name, source, given) for name, source in template_sources(paths).items() for given in variables()]
    cases += [(f"snippet {i}", source, variables()[0]) for i, source in enumerate(SNIPPETS)]
    return cases + [("mixture", mixture(draw), {}) for _ in range(mixtures)]


def compare(tool: Path, cases: list[tuple[str, str, dict]]) -> int:
    request = json.dumps([{"template": source, "variables": given} for _, source, given in cases])
    results = json.loads(subprocess.run([tool], input=request, capture_output=True, text=True, check=True).stdout)
    wrong = refused = errors = 0
    for (name, source, given), ours in zip(cases, results):
        oracle = theirs(source, given)
        errors += "error" in oracle
        if ours.get("text") == oracle.get("text"):
            continue
        refused += "error" in ours
        python = "Python's syntax" in ours.get("error", "")  # a dict, printed: never meant
        if "text" in ours or not python and not name.startswith(("snippet", "mixture")):
            wrong += 1
            if wrong <= 8:
                print(f"{name}: {source[:200]!r} with {json.dumps(given)[:300]}\n  Jinja2: {oracle}\n  ours:   {ours}")
        elif not name.startswith("mixture"):
            print(f"refused by us alone: {source!r}: {ours['error']}")
    print(f"{len(cases)} cases, {errors} of them errors in Jinja2: {wrong} wrong, {refused} refused by us alone")
    return wrong


def make_golden(path: Path, ours: list[Path]) -> None:
    cases = [{"name": Path(name).name, "template": source if "snippet" in name or name == "mixture" else "", "variables": given, **theirs(source, given)}
             for name, source, given in all_cases(ours, 60, 15)]  # fmt: skip
    for case in cases:
        if "error" in case:
            case["error"] = True
    shared = variables()
    for case in cases:
        case["variables"] = shared.index(case["variables"]) if case["variables"] else -1
    lines = ",\n".join(json.dumps(case, ensure_ascii=True, separators=(",", ":")) for case in cases)
    path.write_text(f'{{"variables": {json.dumps(shared)},\n"cases": [\n{lines}]}}\n')
    print(f"{path}: {len(cases)} cases, {path.stat().st_size} bytes")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build" / "bin")
    parser.add_argument("--templates", type=Path, action="append", default=[])
    parser.add_argument("--rounds", type=int, default=2000, help="random mixtures")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--make-golden", type=Path)
    arguments = parser.parse_args()
    own = [ROOT / "test" / "tools" / "text" / "templates", ROOT / "models" / "tiny" / "tokenizer_config.json"]
    if arguments.make_golden:
        make_golden(arguments.make_golden, own)
        return 0
    print(f"seed {arguments.seed}")
    return 1 if compare(arguments.bin / "render-templates", all_cases(own + arguments.templates, arguments.rounds, arguments.seed)) else 0


if __name__ == "__main__":
    sys.exit(main())
