# SPDX-License-Identifier: MIT
"""rest_api and form of examples/ and their counterparts in Python, tests/e2e/python/: one client,
Python's own, sees no difference between them; and what ours say beyond that."""

import http.client
import json
import pathlib
import re
import sys
import urllib.parse

import pytest

from pierlib import WAIT, Process, check_report, wait_until

PYTHON = pathlib.Path(__file__).resolve().parent / "python"
LISTENING = re.compile(r"listening\D.*?http://127\.0\.0\.1:(\d+)")
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(params=["c", "python"])
def language(request):
    return request.param


@pytest.fixture
def start(pier_bin, base_env):
    """start(language, name) → a connection to the running server."""
    examples = pathlib.Path(pier_bin).parents[1] / "examples"
    started = []

    def begin(language, name):
        program = [examples / name] if language == "c" else [sys.executable, PYTHON / f"{name}.py"]
        server = Process([*program, "http://127.0.0.1:0"], base_env)
        started.append(server)
        port = wait_until(lambda: LISTENING.search(server.stderr()), f"{name} listens")[1]
        return http.client.HTTPConnection("127.0.0.1", int(port), timeout=WAIT)

    yield begin
    for server in started:
        check_report(server.stderr())
        server.kill()


def ask(connection, method, path, body=None, fields=None):
    connection.request(method, path, body, fields or {})
    response = connection.getresponse()
    return response, response.read()


def call(connection, method, path, value=None):
    body = None if value is None else json.dumps(value)
    response, text = ask(connection, method, path, body, JSON if body else None)
    is_json = (response.getheader("Content-Type") or "").endswith("json")
    return response, json.loads(text) if is_json else None


# ---- rest_api ----

def test_todos_are_made_changed_and_deleted(start, language):
    api = start(language, "rest_api")
    response, made = call(api, "POST", "/todos", {"text": "écrire \"<C>\""})
    assert (response.status, response.getheader("Location")) == (201, "/todos/1")
    assert made == {"id": 1, "text": "écrire \"<C>\"", "done": False}
    assert call(api, "PATCH", "/todos/1", {"done": True})[1] == {**made, "done": True}
    assert call(api, "PUT", "/todos/1", {"text": "b"})[1] == {"id": 1, "text": "b", "done": False}
    call(api, "POST", "/todos", {"text": "c", "done": True})
    response, todos = call(api, "GET", "/todos")
    assert response.getheader("X-Total-Count") == "2"
    assert todos == [{"id": 1, "text": "b", "done": False}, {"id": 2, "text": "c", "done": True}]
    assert call(api, "DELETE", "/todos/1")[0].status == 204
    assert call(api, "GET", "/todos/1")[0].status == 404
    assert call(api, "GET", "/todos/2")[1]["text"] == "c"


@pytest.mark.parametrize("method, path, body, fields, status", [
    ("POST", "/todos", "{}", JSON, 422),
    ("POST", "/todos", '{"text": 7}', JSON, 422),
    ("POST", "/todos", json.dumps({"text": "x" * 201}), JSON, 422),
    ("POST", "/todos", '{"text":', JSON, 400),
    ("POST", "/todos", '{"text": "a"}', {"Content-Type": "text/plain"}, 415),
    ("PUT", "/todos/7", '{"text": "a"}', JSON, 404),
    ("GET", "/todos/x", None, None, 404),
    ("DELETE", "/todos/7", None, None, 404),
])
def test_what_cannot_be_is_refused(start, language, method, path, body, fields, status):
    response, _ = ask(start(language, "rest_api"), method, path, body, fields)
    assert response.status == status


def test_a_mistake_in_json_has_its_place_and_an_id(start):
    api = start("c", "rest_api")
    response, text = ask(api, "POST", "/todos", '{\n"text": oops}',
                         {**JSON, "Accept": "application/json"})
    assert response.getheader("Content-Type") == "application/problem+json"
    assert "line 2, column" in json.loads(text)["detail"]
    assert len(response.getheader("X-Request-Id")) == 16


# ---- form ----

def post(connection, **fields):
    return ask(connection, "POST", "/", urllib.parse.urlencode(fields), FORM)


def test_what_was_entered_is_text(start, language):
    evil = "<script>alert('&\"')</script>"
    response, page = post(start(language, "form"), name="Zoë & Co", message=evil)
    assert response.status == 200
    assert "Thank you, Zoë &amp; Co." in page.decode()
    assert b"<script>" not in page
    assert b"&lt;script&gt;alert(&#" in page


def test_the_name_is_remembered(start, language):
    form = start(language, "form")
    response, _ = post(form, name='Zoë "Z"; x')
    cookie = response.getheader("Set-Cookie")
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
    _, page = ask(form, "GET", "/", fields={"Cookie": cookie.partition(";")[0]})
    assert 'value="Zoë &quot;Z&quot;; x"' in page.decode()


@pytest.mark.parametrize("body, fields, status", [
    ("name=", FORM, 422), ("message=a", FORM, 422), ("name=" + "x" * 101, FORM, 422),
    ("{}", JSON, 415),
])
def test_a_form_that_will_not_do_is_refused(start, language, body, fields, status):
    assert ask(start(language, "form"), "POST", "/", body, fields)[0].status == status
