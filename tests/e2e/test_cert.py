# SPDX-License-Identifier: MIT
"""`pier cert`: what it makes convinces OpenSSL's command and Python's ssl, and what it shows is
what they show."""

import hashlib
import json
import re
import socket
import ssl
import subprocess
import threading

import pytest

from pierlib import WAIT

NAMES = ["shop.test", "*.shop.test", "192.168.1.5", "::1"]


@pytest.fixture
def cert(pier, tmp_path, monkeypatch):
    """cert(*args) → Result of `pier cert` in the test's folder, whose data folder it has."""
    monkeypatch.chdir(tmp_path)
    env = {"XDG_DATA_HOME": str(tmp_path / "data")}
    return lambda *args, **more: pier("cert", *args, env=env, **more)


@pytest.fixture
def ca(tmp_path):
    return tmp_path / "data/pier/ca.pem"


def openssl(*args, text=""):
    done = subprocess.run(["openssl", *args], timeout=WAIT, input=text, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def handshake(server, client, name):
    """A TLS handshake in memory-backed sockets; what the client's socket knows after it."""
    ours, theirs = socket.socketpair()
    ours.settimeout(WAIT)
    theirs.settimeout(WAIT)

    def answer():
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except (ssl.SSLError, OSError):
            theirs.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=name) as tls:
            return tls.getpeercert()
    finally:
        ours.close()
        thread.join(WAIT)


def port_of(url):
    return int(url.rsplit(":", 1)[1])


def connect(port, context, name="localhost", session=None):
    """What a client that trusts the CA knows after a handshake, and its session."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as plain, \
            context.wrap_socket(plain, server_hostname=name, session=session) as tls:
        tls.sendall(b"hello\n")
        assert tls.recv(100) == b"hello\n"
        return tls.getpeercert(), tls.session, tls.session_reused


def test_serve_without_a_certificate_makes_one_and_says_how_to_trust_it(serve, pier, ca, tmp_path):
    env = {"XDG_DATA_HOME": str(tmp_path / "data")}
    server = serve("--handler", "echo", urls=["tls://127.0.0.1:0"], env=env)
    assert any("made a CA and a certificate for this machine; clients trust it by --ca" in line and
               f"ca={ca}" in line for line in server.extra_lines())
    for name in ("ca-key.pem", "localhost.pem"):
        assert (ca.parent / name).stat().st_mode & 0o777 == 0o600
    port = port_of(server.url)
    trusting = ssl.create_default_context(cafile=ca)
    for name in "localhost", "127.0.0.1":
        known, _, _ = connect(port, trusting, name)
        assert ("DNS", "localhost") in known["subjectAltName"]
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(port, ssl.create_default_context())
    sent = pier("send", f"tls://localhost:{port}", "over tls", "--ca", str(ca))
    assert (sent.rc, sent.out) == (0, b"over tls\n"), sent.err
    sent = pier("send", f"tls://localhost:{port}", "over tls")
    assert sent.rc == 5 and "--ca FILE" in sent.err, sent.err
    again = serve("--handler", "echo", urls=["tls://127.0.0.1:0"], env=env)
    assert any("using the development certificate" in line for line in again.extra_lines())
    connect(port_of(again.url), trusting)


def test_every_connection_of_a_client_can_be_resumed(serve, tmp_path):
    """Tickets of TLS 1.3 are for one use, so a resumed connection brings another."""
    server = serve("--reply", "%m", "--once", urls=["tls://127.0.0.1:0"],
                   env={"XDG_DATA_HOME": str(tmp_path / "data")})
    for turn in range(3):
        kept = ["-sess_in", str(tmp_path / f"{turn}")] if turn else []
        rc, out = openssl("s_client", "-connect", f"127.0.0.1:{port_of(server.url)}", "-ign_eof",
                          *kept, "-sess_out", str(tmp_path / f"{turn + 1}"), text="once\n")
        assert ("Reused, TLSv1.3" if turn else "New, TLSv1.3") in out, out
        assert (tmp_path / f"{turn + 1}").exists(), f"no ticket on connection {turn}"


def test_serve_says_why_it_has_no_certificate(start, tmp_path):
    (tmp_path / "data").write_text("")
    process = start("serve", "tls://127.0.0.1:0", env={"XDG_DATA_HOME": str(tmp_path / "data")})
    assert process.wait() == 1
    assert f"{tmp_path}/data/pier" in process.stderr()


def test_create_says_where_everything_is(cert, ca):
    result = cert("create", *NAMES)
    assert result.rc == 0
    assert result.out.decode() == (f"certificate  shop.test.pem\nkey          shop.test-key.pem\n"
                                   f"CA           {ca}\n")
    assert f"made a CA; programs trust it when told so: pier --ca, curl --cacert {ca}" in result.err
    again = cert("create", "--json", "other.test")
    assert (again.rc, again.err) == (0, "")
    assert json.loads(again.out) == {"certificate": "other.test.pem", "key": "other.test-key.pem",
                                     "ca": str(ca), "made_ca": False}


def test_openssl_verifies_it_strictly(cert, ca, tmp_path):
    assert cert("create", *NAMES).rc == 0
    base = ["verify", "-x509_strict", "-CAfile", str(ca), "-purpose", "sslserver"]
    for name in ["-verify_hostname", "shop.test"], ["-verify_hostname", "a.shop.test"], \
                ["-verify_ip", "192.168.1.5"], ["-verify_ip", "::1"]:
        rc, out = openssl(*base, *name, "shop.test.pem")
        assert rc == 0, out
    assert openssl(*base, "-verify_hostname", "evil.test", "shop.test.pem")[0] != 0
    assert openssl("verify", "-no-CAfile", "-no-CApath", "shop.test.pem")[0] != 0
    text = openssl("x509", "-in", "shop.test.pem", "-noout", "-text")[1]
    for part in ["DNS:shop.test, DNS:*.shop.test, IP Address:192.168.1.5", "CA:FALSE",
                 "TLS Web Server Authentication", "NIST CURVE: P-256", "Digital Signature"]:
        assert part in text, text
    text = openssl("x509", "-in", str(ca), "-noout", "-text")[1]
    assert "CA:TRUE, pathlen:0" in text and "Certificate Sign, CRL Sign" in text


@pytest.mark.parametrize("kind", ["p256", "p384", "ed25519", "rsa"])
def test_python_trusts_it_by_the_ca_alone(cert, ca, kind):
    assert cert("create", "--kind", kind, "shop.test").rc == 0
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain("shop.test.pem", "shop.test-key.pem")
    known = handshake(server, ssl.create_default_context(cafile=ca), "shop.test")
    assert ("DNS", "shop.test") in known["subjectAltName"]
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, ssl.create_default_context(cafile=ca), "evil.test")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, ssl.create_default_context(), "shop.test")


def test_a_client_s_certificate_convinces_a_server_that_asks(cert, ca):
    assert cert("create", "shop.test").rc == 0
    assert cert("create", "--client", "--out", "ann", "ann@shop.test").rc == 0
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
    server.load_cert_chain("shop.test.pem", "shop.test-key.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    server.maximum_version = ssl.TLSVersion.TLSv1_2  # so that a refusal is the handshake's
    client = ssl.create_default_context(cafile=ca)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(server, client, "shop.test")
    client.load_cert_chain("shop.test.pem", "shop.test-key.pem")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(server, client, "shop.test")
    client.load_cert_chain("ann.pem", "ann-key.pem")
    assert handshake(server, client, "shop.test")


def test_out_is_a_prefix_or_a_folder(cert, tmp_path):
    (tmp_path / "folder").mkdir()
    assert cert("create", "-o", "folder", "*.a.test").rc == 0
    assert cert("create", "-o", "folder/", "::1").rc == 0
    assert cert("create", "--out=folder/web", "a.test").rc == 0
    names = {"_wildcard.a.test", "__1", "web"}
    assert {path.name for path in (tmp_path / "folder").iterdir()} == \
        {name + end for name in names for end in (".pem", "-key.pem")}
    result = cert("create", "-o", "none/", "a.test")
    assert result.rc == 1 and "none/a.test-key.pem" in result.err


def test_nothing_is_replaced_without_force(cert, tmp_path):
    (tmp_path / "a.test-key.pem").write_text("precious")
    result = cert("create", "a.test")
    assert (result.rc, result.out) == (1, b"")
    assert result.err == "pier: cert create: a.test-key.pem is there already: --force replaces it\n"
    assert (tmp_path / "a.test-key.pem").read_text() == "precious"
    assert cert("create", "--force", "a.test").rc == 0
    assert (tmp_path / "a.test-key.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("args, says", [
    (["create"], "cert create needs a name"),
    (["show"], "cert show needs a file or a URL"),
    (["sign", "x"], "cert can create or show, not 'sign'"),
    (["create", "a b"], "a b: it is neither a host name nor an IP address"),
    (["create", "https://a.test/"], "it is a URL: give its host name alone"),
    (["create", "--days", "826", "a.test"], "--days"),
    (["create", "--kind", "dsa", "a.test"], "--kind"),
])
def test_a_wrong_command_line_is_named(cert, tmp_path, args, says):
    result = cert(*args)
    assert result.rc == 2 and says in result.err
    assert not any(tmp_path.iterdir())


def test_without_a_home_it_says_what_to_set(pier, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = pier("cert", "create", "a.test", env={"HOME": "", "XDG_DATA_HOME": ""})
    assert result.rc == 1 and "set HOME or XDG_DATA_HOME" in result.err
    assert not any(tmp_path.iterdir())


def test_show_says_what_openssl_says(cert, ca):
    assert cert("create", "--days", "90", *NAMES).rc == 0
    shown = cert("show", "shop.test.pem", ca).out.decode()
    blocks = shown.split("\n\n")
    assert len(blocks) == 2
    assert "names        shop.test, *.shop.test, 192.168.1.5, ::1\n" in blocks[0]
    assert re.search(r"valid        \S+Z to \S+Z \((89|90) days left\)\n", blocks[0])
    assert "key          ECDSA P-256\n" in blocks[0]
    assert "(itself)" in blocks[1] and "of a CA" in blocks[1]
    der = ssl.PEM_cert_to_DER_cert(open("shop.test.pem").read())
    assert f"sha256       {hashlib.sha256(der).hexdigest()}\n" in blocks[0]
    serial = openssl("x509", "-in", "shop.test.pem", "-noout", "-serial")[1].strip()
    assert serial.replace("serial=", "serial       ") + "\n" in blocks[0]
    pin = subprocess.run("openssl x509 -in shop.test.pem -noout -pubkey | "
                         "openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | "
                         "openssl enc -base64", shell=True, check=True, text=True,
                         stdout=subprocess.PIPE).stdout.strip()
    assert blocks[0].endswith(f"pin          sha256//{pin}")


def test_show_for_scripts(cert, ca):
    assert cert("create", *NAMES).rc == 0
    lines = cert("show", "--json", "shop.test.pem", ca).out.splitlines()
    leaf, authority = (json.loads(line)["certificates"][0] for line in lines)
    assert leaf["names"] == NAMES and not leaf["is_ca"]
    assert leaf["days_left"] in (364, 365)
    assert leaf["issuer"] == authority["subject"] and authority["is_ca"]


def test_show_tells_what_it_cannot_read_and_goes_on(cert, tmp_path):
    assert cert("create", "a.test").rc == 0
    (tmp_path / "bad").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    result = cert("show", "bad", "a.test-key.pem", "a.test.pem")
    assert result.rc == 5
    assert "bad: certificate 1 is damaged" in result.err
    assert "a.test-key.pem: there is no certificate in it" in result.err
    assert b"subject      CN=a.test\n" in result.out


@pytest.mark.models("tasks")
def test_show_of_a_server_says_whether_it_convinces(serve, cert, ca, tmp_path):
    env = {"XDG_DATA_HOME": str(tmp_path / "data")}
    server = serve(urls=["tls://127.0.0.1:0", "https://127.0.0.1:0"], env=env)
    tls, https = (port_of(endpoint.url) for endpoint in server.endpoints)
    for url in f"tls://localhost:{tls}", f"https://localhost:{https}/path?query":
        good = cert("show", "--ca", str(ca), url)
        assert (good.rc, good.err) == (0, ""), good.err
        assert good.out.decode().startswith("verified     yes\nsubject      CN=localhost\n")
        bad = cert("show", url)
        assert bad.rc == 5 and bad.err == ""
        assert re.match(rb"verified     tls: localhost:\d+: .*--ca FILE.*\nsubject      CN=local", bad.out)
    wrong = cert("show", "--json", "--ca", str(ca), "--servername", "evil.test", url)
    shown = json.loads(wrong.out)
    assert wrong.rc == 5 and not shown["verified"] and "localhost" in shown["error"]
    assert shown["certificates"][0]["subject"] == "CN=localhost"


def test_show_of_a_server_that_is_not_there(cert):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = cert("show", f"https://127.0.0.1:{port}")
    assert (result.rc, result.out) == (4, b"") and f"127.0.0.1:{port}" in result.err
