"""What stands for kubectl and helm where there is no cluster; run as a program of those names.

It knows the objects that the chart renders and those that it is told to make, and refuses to work
on any other. What is said in a pod, and what a job does, runs on this machine: volumes and secrets
are directories below the one that KUBERNETES names.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

HOME: Final = Path(os.environ.get("KUBERNETES", "/nonexistent"))
POD: Final = "treescale-0"
SILENT: Final = ("config", "get", "wait", "rollout", "label", "scale", "patch", "delete", "logs")


def made() -> dict[str, Any]:
    """Return all objects by kind, in small letters, and name."""
    found: dict[str, Any] = json.loads((HOME / "objects.json").read_text())
    return found


def keep(kind: str, name: str, content: Any) -> None:
    """Make an object."""
    (HOME / "objects.json").write_text(json.dumps({**made(), f"{kind}/{name}": content}))


def refuse(message: str) -> int:
    """Say what is wrong, as the programs do."""
    print(f"Error: {message}", file=sys.stderr)  # noqa: T201  what stands for a program
    return 1


def flags(words: list[str]) -> dict[str, list[str]]:
    """Return the values of flags with `=`; one without has none."""
    found: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            found.setdefault(name, []).append(value)
    return found


def of_yaml(text: str) -> list[Any]:
    """Return the documents of a YAML text, as Debian's parser reads them."""
    script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))"
    done = subprocess.run(
        ["/usr/bin/python3", "-c", script],
        input=text,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: list[Any] = json.loads(done.stdout)
    return found


def secret(words: list[str]) -> int:
    """Make a secret: a directory with a file for each key."""
    kind, name, *rest = words
    place = HOME / "secret" / name
    place.mkdir(parents=True)
    told = flags(rest)
    if kind == "docker-registry":
        keep(
            "secret",
            name,
            {key: told[f"docker-{key}"] for key in ("server", "username", "password")},
        )
        return 0
    for pair in told.get("from-literal", []):
        key, _, value = pair.partition("=")
        (place / key).write_text(value)
    for pair in told.get("from-file", []):
        key, _, file = pair.partition("=")
        (place / key).write_text(Path(file).read_text())
    keep("secret", name, sorted(file.name for file in place.iterdir()))
    return 0


def run_job(job: Any) -> int:
    """Do what the job's container does; its log is a file."""
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    volumes = {each["name"]: each for each in pod["volumes"]}
    words, name = list(container["command"]), job["metadata"]["name"]
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        if claim := volume.get("persistentVolumeClaim"):
            place = HOME / "persistentvolumeclaim" / claim["claimName"]
            place.mkdir(parents=True, exist_ok=True)
        elif kept := volume.get("secret"):
            place = HOME / "secret" / kept["secretName"]
        else:
            continue
        path = re.compile(rf"(^|=){mount['mountPath']}(?=/|$)")
        words = [path.sub(rf"\g<1>{place}", word) for word in words]
    code, said = in_pod(words, "", errors=subprocess.STDOUT)
    (HOME / f"{name}.log").write_text(said)
    if code:
        return refuse(f"the job {name} ended with {code}: {said}")
    keep("job", name, job)
    return 0


def in_pod(words: list[str], text: str, errors: int | None = None) -> tuple[int, str]:
    """Run what is said in a pod, with the database that its secret names."""
    done = subprocess.run(
        words, input=text, stdout=subprocess.PIPE, stderr=errors, text=True, check=False
    )
    return done.returncode, done.stdout


def job_from(words: list[str]) -> int:
    """Make a job of what another object does, or only say it."""
    name, told = words[0], flags(words)
    [source] = told["from"]
    if source not in made():
        return refuse(f"{source} not found")
    template = made()[source]["spec"]["jobTemplate"]["spec"]
    job = {"kind": "Job", "metadata": {"name": name}, "spec": template}
    if told.get("dry-run") == ["client"]:
        print(json.dumps(job))  # noqa: T201
        return 0
    return run_job(job)


def create(words: list[str]) -> int:
    """Make an object of a word, a file or standard input."""
    match words:
        case ["--filename=-"]:
            return run_job(json.loads(sys.stdin.read()))
        case ["namespace", name]:
            keep("namespace", name, {})
            keep("serviceaccount", "default", {})
        case ["secret", *rest]:
            return secret(rest)
        case ["job", *rest]:
            return job_from(rest)
        case ["configmap", name, *rest]:
            [file] = flags(rest)["from-file"]
            keep("configmap", name, {Path(file).name: Path(file).read_text()})
        case _:
            return refuse(f"create {words}")
    return 0


def said(words: list[str]) -> int:
    """Run what is said in a pod of the servers."""
    at = words.index("--")
    pod, program = words[at - 1], words[at + 1 :]
    if pod != POD or "statefulset/treescale" not in made():
        return refuse(f"pods {pod} not found")
    code, told = in_pod(program, sys.stdin.read() if "--stdin" in words[:at] else "")
    sys.stdout.write(told)
    return code


def about(words: list[str]) -> int:
    """Do nothing, when what it is about is there."""
    verb, *rest = [word for word in words if not word.startswith("--")]
    kinds = {"config": [], "rollout": rest[1:], "get": []}.get(verb, rest)
    if verb in {"wait", "logs", "rollout"}:
        names = kinds
    else:
        names = ["/".join(kinds[:2])] if len(kinds) > 1 else []
    for name in names:
        if name not in made():
            return refuse(f"{name} not found")
    if verb == "logs":
        sys.stdout.write((HOME / f"{names[0].partition('/')[2]}.log").read_text())
    if verb == "delete" and names:
        left = {key: each for key, each in made().items() if key not in names}
        (HOME / "objects.json").write_text(json.dumps(left))
    for patch in flags(words).get("patch", []):
        json.loads(patch)
    return 0


def kubectl(words: list[str]) -> int:
    """Do one command."""
    words = [word for word in words if not word.startswith("--namespace=")] or [""]
    if words[0] == "create":
        return create(words[1:])
    if words[0] == "exec":
        return said(words)
    if words[0] == "apply":
        for each in of_yaml(sys.stdin.read()):
            keep(each["kind"].lower(), each["metadata"]["name"], each)
        return 0
    if words[0] in SILENT:
        return about(words)
    return refuse(f"unknown command {words}")


def helm(words: list[str]) -> int:
    """Install what the chart's rendering has, if the values are those it is of."""
    verb, name, chart = words[:3]
    if verb not in {"install", "upgrade"} or not Path(chart, "Chart.yaml").exists():
        return refuse(f"helm {words}")
    [file] = flags(words)["values"]
    [values] = of_yaml(Path(file).read_text())
    [of] = of_yaml(Path(chart, "../rendered-values.yaml").read_text())
    if values != of:
        return refuse(f"the rendering of {name} is of other values")
    for each in of_yaml(Path(chart, "../rendered.yaml").read_text()):
        if each is not None:
            keep(each["kind"].lower(), each["metadata"]["name"], each)
    tls = made()[f"ingress/{name}"]["spec"]["tls"][0]["secretName"]
    keep("certificate", tls, {})  # cert-manager does, by the ingress' annotation
    return 0


def main() -> int:
    """Record the command, and do it."""
    program, words = Path(sys.argv[1]).name, sys.argv[2:]
    with (HOME / "said.jsonl").open("a") as file:
        file.write(json.dumps([program, *words]) + "\n")
    return {"kubectl": kubectl, "helm": helm}[program](words)


if __name__ == "__main__":
    raise SystemExit(main())
