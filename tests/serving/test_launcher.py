"""The address and the home of a server, checked before anything heavy is started."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from serving.cli.main import main
from serving.errors import UserError
from serving.launcher import address_of, free_port, running, serve_environment
from serving.settings import Settings
from serving.system.folders import writable_or_temporary

NO_HOME = ("/proc", "/dev/null/home")
"""Home directories in which not even root can write."""


@pytest.fixture(autouse=True)
def forgotten():
    """Each test is a process of its own: what cannot be written is found anew."""
    writable_or_temporary.cache_clear()


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_free_port_stays_free():
    port = free_port()
    for host in ("127.0.0.1", "localhost", "0.0.0.0"):
        assert address_of(host, port) == host.replace("localhost", "127.0.0.1")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_named(host, taken):
    with pytest.raises(UserError, match=f"^the port {taken} of {host} is in use"):
        address_of(host, taken)


def test_a_port_whose_connections_have_just_ended_may_be_used():
    """As after a restart of the server; SO_REUSEADDR makes the difference."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listener.accept()[0].close()
    assert address_of("127.0.0.1", port) == "127.0.0.1"


@pytest.mark.parametrize("port", [-1, 0, 65536, 10**20])
def test_a_port_that_cannot_be_is_refused(port):
    with pytest.raises(UserError, match=f"^port must be from 1 to 65535; got {port}$"):
        address_of("127.0.0.1", port)


@pytest.mark.parametrize(
    "host", ["", "no-such-host.invalid", "256.1.1.1", "192.0.2.1", "a" * 300, "http://localhost"]
)
def test_a_host_that_is_not_of_this_machine_is_refused(host):
    with pytest.raises(UserError, match=r"^host must be an address or a name of this machine; got"):
        address_of(host, free_port())


@pytest.mark.parametrize("flags", [["--port", "taken"], ["--port", "0"], ["--host", "no-such-host.invalid"]])
def test_the_command_says_so_in_one_line_and_starts_nothing(flags, taken, artifacts, monkeypatch, capsys):
    monkeypatch.setattr(os, "execve", lambda *given: pytest.fail("a server was started"))
    given = [str(taken) if flag == "taken" else flag for flag in flags]
    assert main(["serve", "--artifacts", str(artifacts), *given]) == 2
    said = capsys.readouterr().err
    assert said.startswith("ganzoo: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("home", NO_HOME)
def test_without_a_home_bentoml_gets_a_temporary_folder_with_one_warning(home, monkeypatch, capsys):
    monkeypatch.delenv("BENTOML_HOME", raising=False)
    monkeypatch.setenv("HOME", home)
    first, second = (Path(serve_environment(Settings())["BENTOML_HOME"]) for _ in range(2))
    assert first == second
    assert first.is_dir()
    said = capsys.readouterr().err
    assert said.startswith("warning: ~/bentoml can't be written (")
    assert said.count("\n") == 1
    first.rmdir()


def test_a_home_that_can_be_written_is_left_to_bentoml(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("BENTOML_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert serve_environment(Settings())["BENTOML_HOME"] == str(tmp_path / "bentoml")
    assert capsys.readouterr().err == ""


def test_a_chosen_home_of_bentoml_is_used_or_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "chosen"))
    assert serve_environment(Settings())["BENTOML_HOME"] == str(tmp_path / "chosen")
    monkeypatch.setenv("BENTOML_HOME", "/proc/chosen")
    with pytest.raises(OSError, match="/proc/chosen"):
        serve_environment(Settings())


def test_a_server_serves_by_a_name_and_without_a_home(artifacts, tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if name != "BENTOML_HOME"}
    environment |= {"HOME": "/proc", "GANZOO_ARTIFACTS": str(artifacts), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "serving", "serve", "--host", "localhost", "--port", str(port)]
    with running(command, url, tmp_path / "log", environment, Path(__file__).parents[2]):
        assert httpx.get(f"{url}/readyz").status_code == 200
    log = (tmp_path / "log").read_text()
    assert log.startswith("warning: ~/bentoml")
    assert "Traceback" not in log


def test_bentoml_itself_refuses_a_misspelt_setting(tmp_path):
    """As in the container image, which does not use our command."""
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", "serve", "serving.service:GANZoo"],
        cwd=Path(__file__).parents[2],
        env=serve_environment(Settings()) | {"GANZOO_API_KEY": "secret"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "ganzoo: GANZOO_API_KEY is not a setting; did you mean GANZOO_API_KEYS?\n"
