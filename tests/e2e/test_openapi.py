#!/usr/bin/env python3
"""What the HTTP door says of itself: the document is valid for a public validator (openapi-spec-validator, in an
environment of its own; skipped where it cannot be had), every example in it is replayed against the server and the
answer held against the schema that the document gives for it, and every path and method of the server stands in it."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import BUILD, ROOT
from lib.http_door import HttpDoor
from lib.http_raw import get, request

CONFIG = """
tenants:
  - name: default
    rules:
      - {name: demo, algorithm: token_bucket, rate: 2/s, burst: 10}
      - {name: fast, algorithm: token_bucket, rate: 1000000/s, burst: 1000000}
      - {name: jobs, algorithm: concurrency, limit: 3, lease: 60s}
"""
DOCUMENT = ROOT / "proto-spec" / "openapi.json"
VALIDATOR = "openapi-spec-validator==0.7.1"


class Mismatch(Exception):
    pass


class Schema:
    """Judges a value by as much of OpenAPI 3.0's schemas as the document uses; a word that is not known is an error."""
    TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
    WORDS = {"type", "required", "additionalProperties", "properties", "items", "minItems", "maxItems", "maxLength", "pattern",
             "minimum", "maximum", "nullable", "enum", "description", "allOf", "anyOf", "oneOf"}

    def __init__(self, document):
        self.document = document

    def follow(self, node):
        while "$ref" in node:
            at = self.document
            for name in node["$ref"].removeprefix("#/").split("/"):
                at = at[name]
            node = at
        return node

    def fits(self, value, schema):
        try:
            self.judge(value, schema)
            return True
        except Mismatch:
            return False

    def judge(self, value, schema, where="$"):
        schema = self.follow(schema)
        unknown = set(schema) - self.WORDS
        assert not unknown, unknown

        def need(is_true, what):
            if not is_true:
                raise Mismatch(f"{where}: {what}: {value!r}")
        if value is None and schema.get("nullable"):
            return
        for one in schema.get("allOf", ()):
            self.judge(value, one, where)
        if "anyOf" in schema:
            need(any(self.fits(value, one) for one in schema["anyOf"]), "fits none")
        if "oneOf" in schema:
            need(sum(self.fits(value, one) for one in schema["oneOf"]) == 1, "does not fit exactly one")
        if "type" in schema:
            kind = self.TYPES[schema["type"]]
            need(isinstance(value, kind) and (kind is not int or not isinstance(value, bool)), f"is no {schema['type']}")
        need("enum" not in schema or value in schema["enum"], "is none of the list")
        if isinstance(value, str):
            need(len(value) <= schema.get("maxLength", len(value)), "is too long")
            need(re.search(schema.get("pattern", ""), value), "does not match")
        if isinstance(value, int):
            need(schema.get("minimum", value) <= value <= schema.get("maximum", value), "is out of bounds")
        if isinstance(value, list):
            need(schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)), "has too few or many")
            for number, item in enumerate(value):
                self.judge(item, schema.get("items", {}), f"{where}[{number}]")
        if isinstance(value, dict):
            properties = schema.get("properties", {})
            for name in schema.get("required", ()):
                need(name in value, f"lacks {name}")
            for name, item in value.items():
                need(name in properties or schema.get("additionalProperties", True), f"has {name}")
                self.judge(item, properties.get(name, {}), f"{where}.{name}")


class Openapi(HttpDoor):
    config = CONFIG

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.document = json.loads(DOCUMENT.read_text())
        cls.schema = Schema(cls.document)

    def test_served_as_it_is(self):
        answer = self.once(get("/openapi.json"))
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"))
        self.assertEqual(answer.body, DOCUMENT.read_bytes())
        head = self.once(request("HEAD", "/openapi.json", None))
        self.assertEqual((head.headers["content-length"], head.body), (str(len(answer.body)), b""))

    def test_page_needs_nothing_from_elsewhere(self):
        answer = self.once(get("/docs"))
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "text/html; charset=utf-8"))
        self.assertTrue(answer.headers["content-security-policy"].startswith("default-src 'none'; connect-src 'self';"))
        page = answer.body.decode()
        self.assertIn('fetch("openapi.json")', page)
        self.assertNotRegex(page, r"https?:|//[a-z]|@import|url\(|\binnerHTML\b|\beval\b")
        for link in re.findall(r'(?:src|href)="([^"]*)"', page):
            self.assertIn(link, ("openapi.json", "data:,"))

    def operations(self):
        for path, operations in self.document["paths"].items():
            for method, operation in operations.items():
                yield path, method.upper(), operation

    def examples(self):
        """(name, path, method, operation, headers, query, body) of every example in the document."""
        for path, method, operation in self.operations():
            headers, query = [], []
            for parameter in map(self.schema.follow, operation.get("parameters", ())):
                if "example" in parameter:
                    self.schema.judge(parameter["example"], parameter["schema"])
                    pair = parameter["name"], str(parameter["example"])
                    headers.append("%s: %s" % pair) if parameter["in"] == "header" else query.append(pair)
            target = path + ("?" + urllib.parse.urlencode(query) if query else "")
            if "requestBody" not in operation:
                yield f"{method} {target}", target, method, operation, headers, None
                continue
            (kind, content), = operation["requestBody"]["content"].items()
            for name, example in content["examples"].items():
                self.schema.judge(example["value"], content["schema"])
                body = example["value"].encode() if kind == "text/plain" else example["value"]
                yield f"{method} {target} {name}", target, method, operation, [*headers, f"Content-Type: {kind}"], body

    def judge(self, operation, answer):
        """The answer is one that the document promises."""
        promised = self.schema.follow(operation["responses"][str(answer.status)])
        for name in promised.get("headers", ()):
            if name != "Retry-After":
                self.assertIn(name.lower(), answer.headers)
        if "content" not in promised:
            self.assertEqual(answer.body, b"")
            return
        (kind, content), = promised["content"].items()
        self.assertEqual(answer.headers["content-type"].split(";")[0], kind)
        if kind.endswith("json"):
            self.schema.judge(answer.json(), content["schema"])
        if "example" in content:
            self.assertEqual(answer.body.decode(), content["example"])

    def test_every_example_is_replayed(self):
        replayed = 0
        for name, target, method, operation, headers, body in self.examples():
            with self.subTest(name):
                answer = self.once(request(method, target, body, *headers))
                self.assertEqual(answer.status, 200)
                self.judge(operation, answer)
                replayed += 1
        self.assertGreaterEqual(replayed, 18)

    def test_denials_and_mistakes(self):
        by = {(path, method): operation for path, method, operation in self.operations()}

        def expect(status, method, target, body=None, *headers):
            answer = self.once(request(method, target, body, *headers))
            self.assertEqual(answer.status, status, target)
            self.judge(by[target.split("?")[0], method], answer)
        one = {"rule": "demo", "subject": "denied"}
        expect(200, "POST", "/check", {**one, "cost": 10})
        expect(429, "POST", "/check", one)
        expect(429, "POST", "/check", {"checks": [one]})
        expect(429, "GET", "/check?rule=demo&subject=denied")
        expect(403, "GET", "/check?rule=demo&subject=denied&deny=403")
        for _ in range(10):
            expect(200, "GET", "/echo?message=a", None, "X-Client-Id: denied-echo")
        expect(429, "GET", "/echo?message=a", None, "X-Client-Id: denied-echo")
        expect(413, "POST", "/echo", b"x" * 2049)
        expect(400, "GET", "/echo?message=%zz")
        job = {"rule": "jobs", "subject": "full", "cost": 3}
        expect(200, "POST", "/acquire", job)
        expect(429, "POST", "/acquire", job)
        for path in ("/renew", "/release"):
            expect(404, "POST", path, {"rule": "jobs", "subject": "full", "lease": "1"})
            expect(400, "POST", path, job)
        for path in ("/check", "/peek", "/refund", "/reset", "/acquire", "/renew", "/release"):
            expect(400, "POST", path, {"rule": "demo"})
            expect(401, "POST", path, one, "X-Api-Key: nobody")
            expect(404, "POST", path, {"rule": "none", "subject": "x", **({"lease": "1"} if path[1] in "ar" and path[3] in "qnl" else {})})
        expect(401, "GET", "/usage", None, "X-Api-Key: nobody")

    def test_every_path_stands_in_it(self):
        source = (ROOT / "src" / "doors" / "http_routes.c").read_text()
        served = set(re.findall(r'^    \{"(/[^"]+)", ', source, re.M))
        self.assertEqual(served, set(self.document["paths"]))
        for path, operations in self.document["paths"].items():
            answer = self.once(request("BREW", path, None))
            self.assertEqual(answer.status, 405)
            allowed = set(answer.headers["allow"].split(", ")) - {"HEAD"}
            self.assertEqual(allowed, {method.upper() for method in operations}, path)

    def test_public_validator(self):
        """Installed once per build folder, for it takes a while."""
        folder = BUILD / "openapi-validator"
        python = str(folder / "bin" / "python")
        if subprocess.run([python, "-c", "import openapi_spec_validator"], capture_output=True).returncode if \
                os.path.exists(python) else True:
            for command in ([sys.executable, "-m", "venv", str(folder)],
                            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1",
                             "--timeout", "20", VALIDATOR]):
                done = subprocess.run(command, capture_output=True, text=True, timeout=300)
                if done.returncode:
                    self.skipTest(f"{VALIDATOR} cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")
        scratch = tempfile.TemporaryDirectory(prefix="mete-openapi-")
        self.addCleanup(scratch.cleanup)
        for broken in (False, True):
            path = DOCUMENT
            if broken:  # it can say no
                path = pathlib.Path(scratch.name) / "broken.json"
                path.write_text(DOCUMENT.read_text().replace('"operationId": "peek"', '"operationid": "peek"', 1))
            done = subprocess.run([python, "-m", "openapi_spec_validator", str(path)], capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode != 0, broken, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
