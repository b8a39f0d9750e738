"""What Kubernetes makes of a manifest, field by field, and what it would refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptyshipper.errors import UsageError
from ptyshipper.repro.container import PreStop
from tests.repro.reading import pod, read, read_text, refusal


class TestEveryField:
    """pod.yaml has each field that is taken over."""

    def test_command(self) -> None:
        """``$(VAR)`` of all variables, ``$$(VAR)`` as it is, and what nobody knows as it is."""
        container = read("pod.yaml")
        assert container.command == ("/bin/server", "--mode=fast")
        assert container.args == ("--user", "shop", "$(HOME)", "$(UNKNOWN)", "$(TOKEN)")
        assert container.image == "example.com/shop:1"

    def test_environment(self) -> None:
        """Whole ConfigMaps first, each variable of those before it, none of those after it."""
        env = dict(read("pod.yaml").env)
        assert env == {
            "CFG_MODE": "slow",
            "CFG_not a name": "dropped",
            "MODE": "fast",
            "not a name": "dropped",
            "USER_NAME": "shop",
            "PASSWORD": "s3cr3t",
            "URL": "http://shop:s3cr3t@db/$(LATER)?$(MODE)",
            "LATER": "x",
            "EMPTY": "",
            "POD": "shop",
            "NAMESPACE": "sales",
            "APP": "web",
            "ACCOUNT": "cashier",
            "CPUS": "2",
            "CPUS_M": "1500",
            "MEMORY_MI": "1024",
        }

    def test_what_is_missing_says_where_it_would_come_from(self) -> None:
        missing = dict(read("pod.yaml").missing)
        assert missing == {
            "TOKEN": "Secret elsewhere, key token",
            "FLAG": "ConfigMap flags, key on, optional",
            "IP": "field status.podIP of the pod",
            "DISK": "resource limits.ephemeral-storage, of which the node decides",
        }

    def test_what_is_given_is_missing_no_more_and_stands_for_itself(self) -> None:
        container = read("pod.yaml", given={"TOKEN": "t", "USER_NAME": "me", "NEW": "n"})
        env = dict(container.env)
        assert "TOKEN" not in dict(container.missing)
        assert (env["TOKEN"], env["NEW"]) == ("t", "n")
        assert env["URL"] == "http://me:s3cr3t@db/$(LATER)?$(MODE)"
        assert container.args is not None
        assert container.args[1::3] == ("me", "t")

    def test_who_it_runs_as(self) -> None:
        """The container's own word before its pod's."""
        container = read("pod.yaml")
        assert (container.user, container.group) == (1001, 2000)
        assert container.groups == (44, 3000, 55)
        assert container.drop_capabilities == ("ALL",)
        assert container.add_capabilities == ("NET_BIND_SERVICE",)
        assert container.no_new_privileges
        assert not container.privileged

    def test_its_surroundings(self) -> None:
        container = read("pod.yaml")
        assert (container.tty, container.stdin, container.stdin_once) == (True, True, True)
        assert container.cwd == "/srv"
        assert container.hostname == "till"
        assert container.read_only_root
        assert container.scratch == ("/tmp",)
        assert container.memory_bytes == 2**30
        assert container.cpus == 1.5

    def test_its_end(self) -> None:
        container = read("pod.yaml")
        assert container.grace_period_s == 12
        assert container.pre_stop == PreStop(("/bin/drain", "--now"))
        assert container.stop_signal == "SIGQUIT"

    def test_what_cannot_be_reproduced_is_noted(self) -> None:
        """With its path, so that nothing in the file is passed over in silence."""
        noted = {note.field for note in read("pod.yaml").notes}
        assert noted == {
            "spec.securityContext.sysctls",
            "spec.initContainers",
            "spec.containers[0].securityContext.seccompProfile",
            "spec.containers[0].lifecycle.postStart",
            "spec.containers[0].livenessProbe",
            "spec.containers[0].readinessProbe",
            "spec.containers[0].startupProbe",
            "spec.containers[0].ports",
            "spec.containers[0].volumeMounts[1]",
            "spec.containers[0].resources.limits.example.com/gpu",
            "spec.containers[0].coffee",
            "spec.containers[0].envFrom[2]",
        }

    def test_an_init_container_is_one_by_its_name(self) -> None:
        assert read("pod.yaml", "migrate").command == ("./migrate",)


class TestShapes:
    """Workloads, lists, several documents."""

    def test_anvilops_wrapping_is_taken_off(self) -> None:
        container = read("anvilops.yaml")
        assert container.is_wrapped
        assert container.argv == ("node", "server.js", "--port=8080")
        assert dict(container.env) == {"PORT": "8080"}
        assert container.missing == ()
        assert container.hostname == "app-7-0"
        assert [note.field for note in container.notes] == [
            "spec.template.spec.containers[0].volumeMounts[1]"
        ]

    def test_a_cronjob_with_two(self) -> None:
        with pytest.raises(UsageError, match=r"name one by --container: report, upload$"):
            read("cronjob.yaml")
        upload = read("cronjob.yaml", "upload")
        assert upload.pre_stop == PreStop(sleep_s=3)
        report = read("cronjob.yaml", "report")
        assert (report.command, report.args) == (None, ("--all",))
        with pytest.raises(
            UsageError, match=r"has no container other; name one of: report, upload$"
        ):
            read("cronjob.yaml", "other")

    def test_a_list_with_equal_names(self) -> None:
        """JSON with tabs; a name that is no single one's is said with its workload's."""
        with pytest.raises(UsageError, match=r"--container: one/c, two/c, three/d$"):
            read("list.json")
        assert read("list.json", "one/c").command == ("one", "é😀")
        assert read("list.json", "two/c").hostname == "two-repro"
        assert read("list.json", "three/d").command == ("three",)

    def test_a_running_pod(self) -> None:
        """What only the cluster knew, it has written into the status."""
        container = read("running.yaml")
        assert dict(container.env) == {
            "IP": "10.244.1.17",
            "HOST": "10.0.0.3",
            "NODE": "node-3",
            "UID": "5f0c6c1e-6d3b-4b53-8a43-0d6f2a4f9c11",
        }
        assert container.missing == ()
        assert [note.field for note in container.notes] == ["spec.containers[0].volumeMounts[0]"]

    @pytest.mark.parametrize(
        "kind",
        ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"],
    )
    def test_every_workload_with_a_template(self, kind: str, tmp_path: Path) -> None:
        spec = {"containers": [{"name": "c", "command": [kind]}]}
        workload = {"apiVersion": "x", "kind": kind, "spec": {"template": {"spec": spec}}}
        text = json.dumps(workload)
        assert read_text(text, tmp_path).argv == (kind,)


REFUSED = {
    "no containers": (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  restartPolicy: Always\n",
        "5: spec: has no containers",
    ),
    "empty containers": (
        "apiVersion: v1\nkind: Pod\nspec:\n  containers: []\n",
        "4: spec.containers: is empty; a pod has at least one container",
    ),
    "a template's path": (
        "apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    metadata: {}\n",
        "5: spec.template: has no spec",
    ),
    "no workload": (
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n",
        "1: there is no container in Service; kinds that have some: Pod, Deployment, StatefulSet,"
        " DaemonSet, ReplicaSet, ReplicationController, Job, CronJob",
    ),
    "a number for text": (
        pod("name: c\n    command: [c]\n    env:\n    - {name: A, value: 1}"),
        "10: spec.containers[0].env[0].value: is a whole number, but must be text; put it in quotes",
    ),
    "yes for text": (
        pod("{name: c, command: [c], env: [{name: A, value: yes}]}"),
        "7: spec.containers[0].env[0].value: is true or false, but must be text; put it in quotes",
    ),
    "text for truth": (
        pod('{name: c, command: [c], tty: "true"}'),
        "7: spec.containers[0].tty: is text, but must be true or false; leave out the quotes",
    ),
    "text for a number": (
        pod(spec='terminationGracePeriodSeconds: "5"'),
        "5: spec.terminationGracePeriodSeconds: is text, but must be a whole number; leave out the quotes",
    ),
    "a negative one": (
        pod(spec="terminationGracePeriodSeconds: -5"),
        "5: spec.terminationGracePeriodSeconds: is -5, but must lie between 0 and 2147483647",
    ),
    "an uid beyond all": (
        pod(f"{{name: c, command: [c], securityContext: {{runAsUser: {'9' * 40}}}}}"),
        "7: spec.containers[0].securityContext.runAsUser: is beyond all bounds, but must lie between 0 and"
        " 2147483647",
    ),
    "a command that is no list": (
        pod("{name: c, command: run it}"),
        "7: spec.containers[0].command: is text, but must be a list",
    ),
    "a list for a map": (
        pod("{name: c, command: [c], securityContext: []}"),
        "7: spec.containers[0].securityContext: is a list, but must be a map",
    ),
    "a container without a name": (pod("{command: [c]}"), "7: spec.containers[0]: has no name"),
    "a variable without a name": (
        pod("{name: c, command: [c], env: [{value: x}]}"),
        "7: spec.containers[0].env[0]: has no name",
    ),
    "a variable with a bad name": (
        pod("{name: c, command: [c], env: [{name: A=B}]}"),
        "7: spec.containers[0].env[0].name: is no name of a variable; it must not be empty or have a '='",
    ),
    "a value twice": (
        pod("{name: c, command: [c], env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: a}}}]}"),
        "7: spec.containers[0].env[0]: has a value and a valueFrom; keep one of them",
    ),
    "a source of no kind": (
        pod("{name: c, command: [c], env: [{name: A, valueFrom: {vaultRef: {}}}]}"),
        "7: spec.containers[0].env[0].valueFrom: must have one of configMapKeyRef, secretKeyRef, fieldRef,"
        " resourceFieldRef, fileKeyRef",
    ),
    "a reference without its key": (
        pod("{name: c, command: [c], env: [{name: A, valueFrom: {secretKeyRef: {name: s}}}]}"),
        "7: spec.containers[0].env[0].valueFrom.secretKeyRef: has no key",
    ),
    "no quantity": (
        pod("{name: c, command: [c], resources: {limits: {memory: 1 GB}}}"),
        "7: spec.containers[0].resources.limits.memory: is no quantity: 1 GB; write one such as 512Mi or"
        " 250m",
    ),
    "a volume that is not there": (
        pod("{name: c, command: [c], volumeMounts: [{name: v, mountPath: /v}]}"),
        "7: spec.containers[0].volumeMounts[0].name: there is no volume v; add it to spec.volumes",
    ),
    "a hook that does nothing": (
        pod("{name: c, command: [c], lifecycle: {preStop: {}}}"),
        "7: spec.containers[0].lifecycle.preStop: has none of exec, sleep, httpGet",
    ),
    "no signal": (
        pod("{name: c, command: [c], lifecycle: {stopSignal: SIGNONE}}"),
        "7: spec.containers[0].lifecycle.stopSignal: is no signal: 'SIGNONE'",
    ),
    "root that may not be": (
        pod("{name: c, command: [c], securityContext: {runAsNonRoot: true, runAsUser: 0}}"),
        "7: spec.containers[0].securityContext.runAsUser: is 0, which runAsNonRoot forbids; the kubelet"
        " would not start this",
    ),
    "a wrapper around nothing": (
        pod("{name: c, command: [/x/log-shipper]}"),
        "7: spec.containers[0]: has log-shipper as its command, but no command for it; give it in args",
    ),
    "a NUL": (
        pod('{name: c, command: ["a\\0b"]}'),
        "7: spec.containers[0].command[0]: has a NUL character, which no process can be given",
    ),
    "a secret that is no base64": (
        f"{pod()}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{k: '%'}}\n",
        "12: data.k: is not base64; plain text belongs into stringData",
    ),
    "a document of no kind": (
        f"{pod()}---\nservices: {{}}\n",
        "9: has no apiVersion and kind, as every document of a manifest has",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", list(REFUSED))
def test_is_refused_with_line_path_and_reason(what: str, tmp_path: Path) -> None:
    text, said = REFUSED[what]
    assert refusal(text, tmp_path) == said


def test_an_empty_command_is_none(tmp_path: Path) -> None:
    """As with the API: the image's own is meant."""
    container = read_text(pod("{name: c, command: [], args: [a]}"), tmp_path)
    assert (container.command, container.args) == (None, ("a",))


def test_limits_that_are_none(tmp_path: Path) -> None:
    """0 limits nothing, and nothing needs more than an integer holds."""
    limits = "{name: c, command: [c], resources: {limits: {memory: %s, cpu: 0}}}"
    none = read_text(pod(limits % "0"), tmp_path)
    assert (none.memory_bytes, none.cpus) == (None, None)
    assert read_text(pod(limits % "100Ei"), tmp_path).memory_bytes == 2**63 - 1
