"""The manifests of a fleet: of the published schemas, and of one mind with the server that they start."""

import copy
import dataclasses
import inspect
import json
import math
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from torch.distributed.run import get_args_parser

from serving.api.app import router
from serving.launcher import free_port, running, serve_command, serve_environment
from serving.middleware.request import RequestMiddleware
from serving.repository.repository import ModelRepository
from serving.settings import PREFIX, Settings
from training.cli.train import parse

ROOT = Path(__file__).parents[1]
DEPLOY, DOCUMENT = ROOT / "deploy", ROOT / "docs" / "deployment.md"
SCALE = ROOT / "docs" / "scale.md"
KUBECTL = shutil.which("kubectl")

VERSIONS = ("1.29", kubernetes_validate.latest_version())
"""Of Kubernetes: the oldest that is meant, and the newest whose schemas there are."""

EXTENSIONS = {"ScaledObject", "PodMonitor", "InferenceService"}
"""What a cluster learns of from KEDA, the Prometheus operator and KServe."""

BASE = sorted({*(DEPLOY / "kubernetes" / "base").glob("*.yaml")} - {*DEPLOY.rglob("kustomization.yaml")})
Manifest = dict[str, Any]


def read(place: Path) -> Manifest:
    return yaml.safe_load(place.read_text())


def base(name: str) -> Manifest:
    return read(DEPLOY / "kubernetes" / "base" / f"{name}.yaml")


def pod_of(manifest: Manifest) -> Manifest:
    """What runs, of a Deployment or an InferenceService."""
    spec = manifest["spec"]
    return spec["template"]["spec"] if manifest["kind"] == "Deployment" else spec["predictor"]


PODS = {"kubernetes": pod_of(base("deployment")), "kserve": pod_of(read(DEPLOY / "kserve.yaml"))}
each_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS)


def check(manifest: Manifest) -> None:
    """Hold an object against the schemas, where no field may be unknown."""
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


def blocks(kind: str, document: Path = DOCUMENT) -> list[str]:
    """What a document has in fences of a kind."""
    return re.findall(rf"```{kind}\n(.+?)```", document.read_text(), re.DOTALL)


def rendered(folder: Path) -> Iterator[Manifest]:
    """What `kubectl apply -k` would send."""
    if KUBECTL is None:
        pytest.skip("there is no kubectl")
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield from yaml.safe_load_all(done.stdout)


def built(place: Path, kustomization: Manifest) -> dict[str, Manifest]:
    """What comes of a user's own kustomization beside ours: its objects, each valid, by their kinds."""
    shutil.copytree(DEPLOY, place / "deploy", dirs_exist_ok=True)
    (place / "fleet").mkdir(exist_ok=True)
    (place / "fleet" / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    objects = {manifest["kind"]: manifest for manifest in rendered(place / "fleet")}
    for kind in objects.keys() - EXTENSIONS:
        kubernetes_validate.validate(objects[kind], VERSIONS[-1], strict=True)
    return objects


def must_be_a_training(command: list[str]) -> None:
    """Hold a torchrun and the training in it against what both take."""
    assert command[0] == "torchrun"
    asked = get_args_parser().parse_args(command[1:])
    assert (asked.module, asked.training_script) == (True, "training")
    verb, entry, *flags = asked.training_script_args
    assert verb == "train"
    card, _ = parse(entry, flags)
    assert card.entry.batch_size % (int(asked.nnodes) * int(asked.nproc_per_node)) == 0


def test_the_examples_of_trainings_are_right():
    service, job = yaml.safe_load_all(blocks("yaml", SCALE)[0])
    check(service)
    check(job)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (variable,) = container["env"]
    must_be_a_training([part.replace(f"$({variable['name']})", "1") for part in container["command"]])
    assert f"--master-addr={job['metadata']['name']}-0.{service['metadata']['name']}" in container["command"]
    assert pod["subdomain"] == service["metadata"]["name"]
    (script,) = blocks("bash", SCALE)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    (line,) = re.findall(r"torchrun.+?(?= &)", script.replace("\\\n", "").replace("$SLURM_NNODES", "2"))
    must_be_a_training(shlex.split(line))
    with pytest.raises(AssertionError):
        must_be_a_training(shlex.split(line.replace("--batch-size 16", "--batch-size 17")))


@pytest.mark.parametrize("file", BASE, ids=lambda file: file.stem)
def test_every_object_is_as_the_published_schemas_have_it(file):
    manifest = read(file)
    check(manifest)
    misspelt = copy.deepcopy(manifest)
    misspelt["metadata"]["nmae"] = "ganzoo"
    with pytest.raises(kubernetes_validate.ValidationError, match="nmae"):
        check(misspelt)


@each_pod
@pytest.mark.parametrize("place", ["pod", "container", "securityContext", "readinessProbe"])
def test_what_is_misspelt_in_a_pod_is_seen(pod, place):
    ours = {key: value for key, value in pod.items() if not re.match("(min|max)Replicas|scale", key)}
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ganzoo"}, "spec": copy.deepcopy(ours)}
    check(whole)
    (container,) = whole["spec"]["containers"]
    inner = {"pod": whole["spec"], "container": container, **container}[place]
    inner["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="FileSystem"):
        check(whole)


@each_pod
def test_a_pod_may_do_no_more_than_the_server_needs(pod):
    """More than Kubernetes' restricted standard asks for, which the namespace enforces."""
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False, "GANZOO_PORT would be a setting's name"
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}]
    enforced = base("namespace")["metadata"]["labels"]
    assert enforced == {"pod-security.kubernetes.io/enforce": "restricted"}


def settings_of(pod: Manifest) -> Settings:
    """The server's settings in a pod; what a secret would give is not known."""
    (container,) = pod["containers"]
    given = {variable["name"]: variable.get("value", "secret") for variable in container["env"]}
    ours = {name: value for name, value in given.items() if name.startswith(PREFIX)}
    unknown = {name.removeprefix(PREFIX).lower() for name in ours} - set(Settings.__dataclass_fields__)
    assert not unknown
    return Settings.from_environment(ours)


@each_pod
def test_a_pod_is_given_time_to_end(pod):
    longest = inspect.signature(RequestMiddleware).parameters["deadline"].default
    settings = settings_of(pod)
    assert settings.drain >= 5, "proxies need some seconds to be told"
    assert pod["terminationGracePeriodSeconds"] > settings.drain + longest


def test_a_setting_that_there_is_not_would_be_seen():
    for name, value in (("GANZOO_DRIAN", "10"), ("GANZOO_DRAIN", "10s"), ("GANZOO_PROVIDER", "gpu")):
        pod = copy.deepcopy(PODS["kubernetes"])
        pod["containers"][0]["env"].append({"name": name, "value": value})
        with pytest.raises((AssertionError, ValueError)):
            settings_of(pod)


@each_pod
def test_a_pod_is_asked_for_what_there_is(pod):
    (container,) = pod["containers"]
    (port,) = container["ports"]
    paths = {
        route.path for route in router(ModelRepository(Settings())).routes if "GET" in (route.methods or ())
    }
    for preview in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[preview]["httpGet"]
        assert asked["path"] in paths
        assert asked["port"] in (port["name"], port["containerPort"])
    assert f"127.0.0.1:{port['containerPort']};" in (DEPLOY / "nginx.conf").read_text()
    assert container["livenessProbe"]["httpGet"]["path"] != container["readinessProbe"]["httpGet"]["path"]


def test_the_objects_mean_one_another():
    deployment, service, budget, policy, monitor, scaled = (
        base("deployment"),
        base("service"),
        base("disruption-budget"),
        base("network-policy"),
        read(DEPLOY / "kubernetes" / "scaling" / "pod-monitor.yaml"),
        read(DEPLOY / "kubernetes" / "scaling" / "scaled-object.yaml"),
    )
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    assert monitor["spec"]["selector"]["matchLabels"] == labels
    for constraint in PODS["kubernetes"]["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"] == labels
    (port,) = PODS["kubernetes"]["containers"][0]["ports"]
    assert [each["targetPort"] for each in service["spec"]["ports"]] == [port["name"]]
    assert [each["port"] for each in monitor["spec"]["podMetricsEndpoints"]] == [port["name"]]
    assert policy["spec"]["ingress"][0]["ports"] == [{"port": port["containerPort"]}]
    assert policy["spec"]["egress"] == []
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert scaled["spec"]["minReplicaCount"] == deployment["spec"]["replicas"] > 1
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert base("kustomization")["namespace"] == base("namespace")["metadata"]["name"]


def test_kserve_runs_the_same_pod_by_the_open_inference_protocol():
    ours, theirs = PODS["kubernetes"], PODS["kserve"]
    (container,) = theirs["containers"]
    assert container["name"] == "kserve-container"
    assert {"name": "PROTOCOL", "value": "v2"} in container["env"]
    for key in ("securityContext", "volumes", "terminationGracePeriodSeconds"):
        assert theirs[key] == ours[key]
    for key in ("image", "resources", "securityContext", "volumeMounts"):
        assert container[key] == ours["containers"][0][key]


def test_the_image_is_built_for_what_the_pods_ask():
    text = (ROOT / "Dockerfile").read_text()
    context = PODS["kubernetes"]["securityContext"]
    user, _, group = re.findall(r"^USER (\S+)$", text, re.MULTILINE)[-1].partition(":")
    assert (user, group or user) == (str(context["runAsUser"]), str(context["runAsGroup"]))
    (port,) = PODS["kubernetes"]["containers"][0]["ports"]
    assert re.search(rf"^EXPOSE {port['containerPort']}$", text, re.MULTILINE)


def queries() -> dict[str, set[str]]:
    """Metrics, with the labels they are asked by, in the autoscaler's query and the document's."""
    scaled = read(DEPLOY / "kubernetes" / "scaling" / "scaled-object.yaml")
    asked = [trigger["metadata"].get("query", "") for trigger in scaled["spec"]["triggers"]]
    asked += blocks("promql")
    found: dict[str, set[str]] = {}
    for query in asked:
        for name, labels in re.findall(r"\b(ganzoo_\w+)(?:\{(.*?)\})?", query):
            found.setdefault(name, set()).update(re.findall(r"(\w+)=", labels))
    return found


def series(url: str, keys: dict[str, str]) -> dict[str, set[str]]:
    """What a server tells Prometheus, with the labels of each; and those that Prometheus adds."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics", headers=keys).text):
        for sample in family.samples:
            found.setdefault(sample.name, {"namespace", "pod"}).update(sample.labels)
    return found


def test_replicas_are_added_long_before_requests_are_refused():
    scaled = read(DEPLOY / "kubernetes" / "scaling" / "scaled-object.yaml")
    queue, processor = (trigger["metadata"] for trigger in scaled["spec"]["triggers"])
    assert 8 * int(queue["threshold"]) == Settings().max_queue, "as its comment says"
    assert f'namespace="{base("kustomization")["namespace"]}"' in queue["query"]
    assert float(processor["value"]) < 80, "the rest is for the time that a replica takes to come"


@pytest.mark.slow
def test_a_server_answers_what_the_cluster_asks_of_it(artifacts, tmp_path):
    """Started with a pod's settings, asked by its probes and by Prometheus, and told to end."""
    pod, port = PODS["kubernetes"], free_port()
    url, settings = f"http://127.0.0.1:{port}", dataclasses.replace(settings_of(pod), artifacts=artifacts)
    (container,) = pod["containers"]
    ready, alive = (url + container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("readiness", "liveness"))
    keys = {"Authorization": f"Bearer {settings.api_keys}"}
    command, environment = serve_command("127.0.0.1", port), serve_environment(settings)

    def sample() -> int:
        path = f"{url}/v1/models/pictures/sample"
        return httpx.post(path, json={"seed": 1}, headers=keys).status_code

    with running(command, url, tmp_path / "log", environment) as server:
        assert (httpx.get(ready).status_code, httpx.get(alive).status_code, sample()) == (200, 200, 200)
        told = series(url, keys)
        for name, labels in queries().items():
            assert name in told, name
            assert labels <= told[name], name
        server.terminate()
        end = time.monotonic() + settings.drain / 2
        while httpx.get(ready).status_code == 200 and time.monotonic() < end:
            time.sleep(0.05)
        assert httpx.get(ready).status_code == 503
        assert (httpx.get(alive).status_code, sample()) == (200, 200), "what is on its way is welcome"
        server.terminate()  # a second time: no more waiting
        assert server.wait(30) == 0


def test_a_gpu_is_all_that_the_overlay_adds():
    ours, theirs = (
        {manifest["kind"]: manifest for manifest in rendered(DEPLOY / "kubernetes" / name)}
        for name in ("base", "gpu")
    )
    for manifest in [*ours.values(), *theirs.values()]:
        check(manifest)
    assert {kind for kind in ours if ours[kind] != theirs[kind]} == {"Deployment"}
    pod = pod_of(theirs["Deployment"])
    (container,) = pod["containers"]
    assert container["image"] == "ganzoo:cuda"
    assert container["resources"]["limits"].pop("nvidia.com/gpu") == 1
    assert settings_of(pod).provider == "cuda"
    assert pod.pop("tolerations")
    container["image"], container["env"] = "ganzoo:cpu", pod_of(ours["Deployment"])["containers"][0]["env"]
    assert theirs == ours


def test_the_documents_kustomization_leaves_the_replicas_to_the_autoscaler(tmp_path):
    kustomization, *_ = map(yaml.safe_load, blocks("yaml"))
    objects = built(tmp_path, kustomization)
    assert objects.keys() >= {"ScaledObject", "PodMonitor"}
    assert "replicas" not in objects["Deployment"]["spec"]
    (container,) = pod_of(objects["Deployment"])["containers"]
    (image,) = kustomization["images"]
    assert container["image"] == f"{image['newName']}:{image['newTag']}"
    placed = [manifest for kind, manifest in objects.items() if kind != "Namespace"]
    assert {manifest["metadata"]["namespace"] for manifest in placed} == {"ganzoo"}


def test_the_documents_volumes_fit_the_deployment(tmp_path):
    _, *changes = map(yaml.safe_load, blocks("yaml"))
    mounted = changes[0]["containers"]
    assert len(changes) == 3
    for pod in changes:
        patch = {"spec": {"template": {"spec": {"containers": mounted, **pod}}}}
        patch |= {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "ganzoo"}}
        kustomization = {"resources": ["../deploy/kubernetes/base"], "patches": [{"patch": yaml.dump(patch)}]}
        kustomization |= {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        made = pod_of(built(tmp_path, kustomization)["Deployment"])
        assert {volume["name"] for volume in made["volumes"]} == {"tmp", "artifacts"}
        (container,) = made["containers"]
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/artifacts", "/tmp"]
        assert settings_of(made).artifacts == Path("/artifacts")
        for first in made.get("initContainers", []):
            assert first["securityContext"] == container["securityContext"], "the namespace asks for it"


def test_the_documents_figures_are_those_of_the_benchmark():
    measured = json.loads((ROOT / "benchmarks" / "serving.json").read_text())["rows"]
    lines = re.findall(r"^\| (\w+ \| \d.+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(lines) > 3
    for line in lines:
        kind, n, connections, server, *figures = line.split(" | ")
        load = {"format": kind, "n": int(n), "connections": int(connections), "server": server}
        (row,) = (each for each in measured if load.items() <= each.items())
        pictures = row["n"] * row["requests/s"]
        replicas = math.ceil(10_000 / (0.6 * pictures))
        counted = f"{row['requests/s']:,.0f} | {row['p99']:.1f} | {pictures:,.0f} | {replicas}"
        assert " | ".join(figures) == counted
