"""What is shipped for systemd, containers and Kubernetes: read by the tools of each, and true to the Procfile."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from go_template import render_template

from cli.supervision.procfile import read_procfile

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "switchboard"
BIN = Path(sys.executable).parent
PROCFILE = read_procfile(ROOT / "Procfile")
Document = dict[str, Any]


def _run(*command: str, **options: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units, with this machine's programs in the place of those in /opt."""
    directory = tmp_path_factory.mktemp("units")
    shutil.copytree(DEPLOY / "systemd", directory, dirs_exist_ok=True)
    for unit in directory.rglob("*.*"):
        if unit.is_file():
            unit.write_text(unit.read_text().replace("/opt/switchboard/.venv/bin", str(BIN)))
    return directory


def test_systemd_understands_the_units(units: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    names = [unit.name.replace("@.", "@1.") for unit in sorted(units.iterdir()) if unit.is_file()]
    assert len(names) == 9
    said = _run("systemd-analyze", "verify", "--man=no", *names, env={"SYSTEMD_UNIT_PATH": f"{units}:"}, cwd=units)
    assert not [line for line in said.splitlines() if "switchboard" in line]


def test_units_run_what_the_procfile_says() -> None:
    for process, command in PROCFILE.items():
        (unit,) = (DEPLOY / "systemd").glob(f"switchboard-{process}*.service")
        (line,) = re.findall(r"^ExecStart=/opt/switchboard/\.venv/bin/(.*)$", unit.read_text(), re.MULTILINE)
        assert _words(shlex.split(line.replace("%%", "%"))) == _words(command)


def test_the_compose_file_is_one(tmp_path: Path) -> None:
    merged = tmp_path / "compose.yaml"
    merged.write_text(yaml.safe_dump(_compose()))  # the schema knows no YAML merge keys
    _run(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(merged))
    named = {name for service in _compose()["services"].values() for name in _secret_names(service)}
    assert named == set(_compose()["secrets"])


def test_the_migration_waits_for_a_database_that_others_can_reach() -> None:
    """The server of the image's first start listens on its socket alone."""
    test = _compose()["services"]["postgres"]["healthcheck"]["test"]
    assert test[1] == "pg_isready"
    assert test[test.index("--host") + 1] == "127.0.0.1"


def test_containers_run_what_the_procfile_says() -> None:
    services = _compose()["services"]
    for process, command in PROCFILE.items():
        default = re.search(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        assert default
        assert _words(services[process].get("command", yaml.safe_load(default[1]))) == _words(command)


def test_the_dockerfile_passes_its_linter() -> None:
    _run(str(BIN / "hadolint"), str(ROOT / "Dockerfile"))


def test_an_image_holds_what_runs_and_nothing_else(tmp_path: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    for name in (line.removeprefix("!") for line in lines if line.startswith("!")):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    modules = "cli.main, cli.flower, cli.migration, core.migrations.runner, workers.app, workers.chat, web.app"
    code = f"import {modules}; assert workers.__file__.startswith({str(tmp_path)!r}), workers.__file__"
    _run(sys.executable, "-c", code, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert not (tmp_path / "tests").exists()


VALUES = [
    {},
    {"ingress": {"enabled": True}, "flower": {"enabled": True}, "models": 'default = "é"\n\tx = "\\"y\\""\n'},
]


@pytest.mark.parametrize("values", VALUES, ids=["defaults", "everything"])
def test_kubernetes_accepts_what_the_chart_renders(tmp_path: Path, values: Document) -> None:
    documents = list(_rendered(tmp_path, values))
    kinds = [document["kind"] for document in documents]
    assert kinds.count("Deployment") == (5 if values else 4)
    for document in documents:
        kubernetes_validate.validate(document, "1.37", strict=True)
    if values:
        (models,) = (each for each in documents if each["kind"] == "ConfigMap")
        assert models["data"]["models.toml"] == values["models"]


def test_pods_run_what_the_procfile_says_and_nothing_as_root(tmp_path: Path) -> None:
    for document in _rendered(tmp_path, VALUES[1]):
        if document["kind"] not in ("Deployment", "Job"):
            continue
        pod = document["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        if document["kind"] == "Deployment":
            assert _words(container["args"]) == _words(PROCFILE[container["name"]])
            assert (
                document["spec"]["selector"]["matchLabels"].items()
                <= document["spec"]["template"]["metadata"]["labels"].items()
            )
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert not any("valueFrom" in variable for variable in container["env"])
        assert container["resources"]["limits"]["memory"]


def test_the_migration_has_the_variables_of_the_pods_that_it_is_for(tmp_path: Path) -> None:
    environment = {"PGSSLROOTCERT": "/etc/ssl/ours.pem", "SWITCHBOARD_LOG_FORMAT": "json"}
    with_containers = [each for each in _rendered(tmp_path, {"environment": environment}) if _pod(each)]
    assert "Job" in [document["kind"] for document in with_containers]
    for document in with_containers:
        (container,) = _pod(document)["spec"]["containers"]
        given = {variable["name"]: variable["value"] for variable in container["env"]}
        assert environment.items() <= given.items(), document["metadata"]["name"]


@pytest.mark.parametrize("change", [{"models": 'default = "other"\n'}, {"environment": {"PGOPTIONS": "-c jit=off"}}])
def test_what_processes_read_as_they_start_replaces_all_pods_when_changed(tmp_path: Path, change: Document) -> None:
    flower = {"flower": {"enabled": True}}
    before = _pods_of_deployments(tmp_path, flower)
    assert len(before) == 5
    assert _pods_of_deployments(tmp_path, flower | {"web": {"replicas": 5}}) == before
    after = _pods_of_deployments(tmp_path, flower | change)
    assert [name for name in before if after[name] == before[name]] == []


def _pods_of_deployments(directory: Path, values: Document) -> Document:
    deployments = [each for each in _rendered(directory, values) if each["kind"] == "Deployment"]
    for deployment in deployments:  # the renderer here, unlike Helm, does not go through a map in order
        for container in _pod(deployment)["spec"]["containers"]:
            container["env"].sort(key=itemgetter("name"))
    return {deployment["metadata"]["name"]: _pod(deployment) for deployment in deployments}


def _pod(document: Document) -> Document:
    """The template of the document's pods; empty where it has none."""
    template: Document = document["spec"].get("template", {}) if "spec" in document else {}
    return template


def _rendered(directory: Path, values: Document) -> Iterator[Document]:
    """The chart's documents, rendered by Go's own templates."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    merged = {
        name: value | values[name] if name in values and isinstance(value, dict) else values.get(name, value)
        for name, value in defaults.items()
    }
    given = directory / "values.yaml"
    given.write_text(yaml.safe_dump({"Values": merged, "Release": {"Name": "chat", "Namespace": "default"}}))
    common = (CHART / "templates" / "_common.tpl").read_text()
    for template in sorted((CHART / "templates").glob("*.yaml")):
        source, output = directory / template.name, directory / f"{template.stem}.out"
        source.write_text(common + template.read_text())
        render_template(str(source), str(given), str(output))
        text = output.read_text()
        assert "<no value>" not in text
        assert "%!" not in text
        yield from (document for document in yaml.safe_load_all(text) if document)


def _compose() -> Document:
    composed: Document = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return {name: value for name, value in composed.items() if not name.startswith("x-")}


def _secret_names(service: Document) -> Iterator[str]:
    for secret in service.get("secrets", []):
        yield secret if isinstance(secret, str) else secret["source"]


def _words(command: list[str]) -> list[str]:
    return [word.rpartition("/bin/")[2] for word in command]
