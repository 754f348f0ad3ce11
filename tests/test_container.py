"""The image: what its Dockerfile must say, and, where buildah and a base are, the image itself at work."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pathspec
import pytest
import yaml

from serving.launcher import free_port, running, serving
from serving.runtime.load import load
from serving.settings import Settings

ROOT = Path(__file__).parents[1]
BENTOFILE = yaml.safe_load((ROOT / "bentofile.yaml").read_text())


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: each one's word and what follows, in one line."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", "")
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)
    ]


def last_stage() -> dict[str, str]:
    """What the last stage says by each word; the last one counts."""
    said = instructions()
    start = max(at for at, (word, _) in enumerate(said) if word == "FROM")
    return dict(said[start:])


def command_of(text: str) -> list[str]:
    """A command that runs without a shell."""
    command: list[str] = json.loads(text)
    return command


def test_stages_start_from_the_base_that_is_given_or_from_each_other():
    named: set[str] = set()
    for image, name in (rest.split(" AS ") for word, rest in instructions() if word == "FROM"):
        assert image in named | {"${BASE}", "scratch"}
        named.add(name)
    (base,) = (rest for word, rest in instructions() if rest.startswith("BASE="))
    assert "/" not in base, "whose registry it is, is not ours to say"


def test_packages_are_installed_by_their_hashes_and_nothing_is_compiled():
    installs = [line for _, rest in instructions() for line in rest.split("&&") if "pip install" in line]
    assert len(installs) == 2
    assert all("--require-hashes" in line and "--only-binary :all:" in line for line in installs)


def test_the_image_runs_what_a_bento_runs_and_as_nobody():
    said = last_stage()
    assert command_of(said["CMD"]) == ["bentoml", "serve", BENTOFILE["service"]]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", said["USER"])
    assert said["STOPSIGNAL"] == "SIGTERM"
    environment = dict(pair.split("=", 1) for pair in said["ENV"].split())
    assert environment.items() >= {env["name"]: env["value"] for env in BENTOFILE["envs"]}.items()


def test_what_is_copied_is_let_into_the_context():
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = (rest.split()[0] for word, rest in instructions() if word == "COPY" and "--from" not in rest)
    for source in set(copied) - {"."}:
        assert (ROOT / source).exists()
        assert any(Path(source).match(pattern) for pattern in allowed), source
    assert {"serving", "artifacts", "LICENSE"} <= set(allowed)


def test_the_health_check_knows_a_ready_server(artifacts, tmp_path):
    _, _, command = last_stage()["HEALTHCHECK"].partition("CMD ")
    check = [sys.executable, *command_of(command)[1:]]
    with serving(Settings(artifacts=artifacts), tmp_path / "log") as url:
        port = url.rpartition(":")[2]
        assert subprocess.run(check, env={"BENTOML_PORT": port}, check=False).returncode == 0
    nobody = {"BENTOML_PORT": str(free_port())}
    assert subprocess.run(check, env=nobody, capture_output=True, check=False).returncode == 1


def test_a_bento_takes_all_that_serves_and_the_page():
    taken = pathspec.GitIgnoreSpec.from_lines(BENTOFILE["include"])
    files = [path.relative_to(ROOT) for path in (ROOT / "serving").rglob("*.*") if path.suffix != ".pyc"]
    left = {str(path) for path in files if not taken.match_file(path)}
    assert left == {"serving/runtime/manifest.schema.json"}, "which is for those who read artifacts elsewhere"
    assert taken.match_file("serving/playground/index.html")


def pins(name: str) -> dict[str, str]:
    """The packages of a lock, and their versions."""
    text = (ROOT / "requirements" / name).read_text()
    return dict(re.findall(r"^([\w.-]+)(?:\[.*\])?==(\S+)", text, re.MULTILINE))


def test_with_and_without_cuda_the_packages_differ_in_onnx_runtime_alone():
    cuda, cpu = pins("serving.txt"), pins("serving-cpu.txt")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[\[><=]", line)[0] for line in project["dependencies"]} - {"onnxruntime"}
    assert wanted <= cuda.keys()
    assert pins("base.txt") == {name: cuda[name] for name in pins("base.txt")}
    assert cpu.pop("onnxruntime") == cuda.pop("onnxruntime-gpu")
    more = cuda.keys() - cpu.keys()
    assert more
    assert all(name.startswith("nvidia-") for name in more)
    assert cpu == {name: version for name, version in cuda.items() if name not in more}
    assert not cuda.keys() & {"torch", "torchvision", "onnx", "onnxscript", "triton"}


class Image(NamedTuple):
    """An image's file system, mounted, and how it is to be run."""

    root: Path
    config: dict[str, Any]

    def command(self, *words: str, **environment: str) -> list[str]:
        """A command in the image as its user: PID 1, nothing writable but /tmp, no way to more rights."""
        variables = [*self.config["Env"], *(f"{name}={value}" for name, value in environment.items())]
        place = ["env", "-i", f"--chdir={self.config['WorkingDir']}", *variables]
        inside = ["sh", "-ec", SANDBOX, "sandbox", str(self.root), self.config["User"], *place, *words]
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", *inside]


SANDBOX = """
touch "$1/etc/hosts"
mount --bind "$1" "$1"
mount --bind /etc/hosts "$1/etc/hosts"
mount -o remount,bind,ro "$1"
mount --bind /dev "$1/dev"
mount -t proc proc "$1/proc"
mount -t tmpfs -o noexec,nosuid,nodev tmpfs "$1/tmp"
root=$1 user=$2; shift 2
exec setpriv --no-new-privs chroot --userspec="$user" "$root" "$@"
"""


def buildah(*words: str) -> str:
    done = subprocess.run(["buildah", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image(artifacts, tmp_path_factory) -> Iterator[Image]:
    """The image for CPUs, built upon GANZOO_TEST_BASE from this checkout with the tests' artifacts.

    GANZOO_TEST_BUILD is what `buildah build` needs besides, such as a secret with pip's configuration.
    """
    base, options = os.environ.get("GANZOO_TEST_BASE"), os.environ.get("GANZOO_TEST_BUILD", "")
    if base is None or shutil.which("buildah") is None or os.geteuid() != 0:
        pytest.skip("it needs buildah, root, and in GANZOO_TEST_BASE the name of an image with Python 3.11")
    context, tag = tmp_path_factory.mktemp("context"), "localhost/ganzoo-test"
    for name in ("Dockerfile", ".dockerignore", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, context)
    for name in ("serving", "requirements", "training"):
        shutil.copytree(ROOT / name, context / name)
    shutil.copytree(artifacts, context / "artifacts")
    (context / "serving").chmod(0o700)  # as a careful umask leaves it
    build = ("build", "--isolation", "chroot", "--format", "docker", "--build-arg", f"BASE={base}")
    buildah(*build, *shlex.split(options), "--tag", tag, str(context))
    config = json.loads(buildah("inspect", "--type", "image", tag))["Docker"]["config"]
    with contextlib.ExitStack() as stack:
        stack.callback(buildah, "rmi", tag)
        container = buildah("from", tag)
        stack.callback(buildah, "rm", container)
        yield Image(Path(buildah("mount", container)), config)


def test_the_image_answers_as_a_checkout_does_and_ends_in_order(image, artifacts, tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = image.command(*image.config["Cmd"], BENTOML_PORT=str(port), GANZOO_DRAIN="1")
    picture = (artifacts / "styles" / "a2b.png").read_bytes()
    with (
        serving(Settings(artifacts=artifacts, provider="cpu"), tmp_path / "checkout.log") as checkout,
        running(command, url, tmp_path / "image.log", dict(os.environ)) as server,
    ):
        (init,) = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        for path, asked in (
            ("pictures/sample", {"json": {"n": 16, "seed": 7, "format": "npy"}}),
            ("styles/translate?format=npy", {"content": picture, "headers": {"content-type": "image/png"}}),
        ):
            ours, theirs = (httpx.post(f"{host}/v1/models/{path}", **asked) for host in (checkout, url))
            assert ours.status_code == theirs.status_code == 200
            assert ours.content == theirs.content
        written = {path.name for path in (Path("/proc") / init / "root" / "tmp").iterdir()}
        assert {name for name in written if not name.startswith("bentoml")} == set(), "nobody else writes"
        os.kill(int(init), signal.SIGTERM)
        assert server.wait(30) == 0


def test_the_image_has_the_commands_that_need_no_torch(image, artifacts, tmp_path):
    command = "python3 -m serving sample pictures --n 4 --seed 7 --out /tmp/x.npy && cat /tmp/x.npy"
    done = subprocess.run(image.command("sh", "-c", command), capture_output=True, check=True)
    expected = load(artifacts / "pictures", provider="cpu").sample(4, seed=7)
    assert done.stdout.removeprefix(b"/tmp/x.npy\n").endswith(expected.tobytes())
    done = subprocess.run(
        image.command("python3", "-m", "serving", "verify", "styles"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("PyTorch") == 4


def test_the_image_holds_what_serving_needs_and_nothing_that_builds(image):
    assert {path.name for path in (image.root / "app").iterdir()} == {"LICENSE", "artifacts", "serving"}
    code = "import importlib.util as u, sys; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    unwanted = ["torch", "onnx", "pip", "setuptools", "training", "zoo"]
    done = subprocess.run(
        image.command("python3", "-c", code, "serving", *unwanted), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['serving']"
    folders = [image.root / folder for folder in ("venv/bin", "usr/bin", "usr/local/bin")]
    assert not [
        name
        for folder in folders
        for name in ("cc", "gcc", "ld", "make", "pip", "pip3")
        if (folder / name).exists()
    ]


def test_nothing_of_the_image_can_be_written_by_its_user(image):
    for folder in ("app", "venv"):
        for path in (image.root / folder).rglob("*"):
            found = path.lstat()
            assert (found.st_uid, found.st_gid) == (0, 0)
            assert path.is_symlink() or found.st_mode & 0o022 == 0
            assert path.is_symlink() or found.st_mode & 0o004, "and it can read all"
    tries = {place: image.command("touch", f"{place}/new") for place in ("/app", "/venv", "/var/tmp", "/tmp")}
    done = {place: subprocess.run(words, capture_output=True, check=False) for place, words in tries.items()}
    assert [place for place, result in done.items() if result.returncode == 0] == ["/tmp"]
