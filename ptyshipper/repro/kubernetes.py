"""Kubernetes' manifests: the containers of the pods that they make.

Sources: the API reference of the Pod (core/v1) and its workloads, and, for what a field does, the
kubelet's code (kubelet_pods.go, security_context.go).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ptyshipper.repro.container import (
    DEFAULT_GRACE_PERIOD_S,
    DEFAULT_STOP_SIGNAL,
    Container,
    Note,
    PreStop,
)
from ptyshipper.repro.documents import Field
from ptyshipper.repro.expansion import expand
from ptyshipper.repro.kubernetes_env import Objects, Variables
from ptyshipper.repro.quantity import quantity
from ptyshipper.repro.signal_names import signal_name
from ptyshipper.repro.wrapping import MOUNT, is_wrapper, unwrapped

POD_SPECS: dict[str, tuple[str, ...]] = {
    "Pod": ("spec",),
    "Deployment": ("spec", "template", "spec"),
    "StatefulSet": ("spec", "template", "spec"),
    "DaemonSet": ("spec", "template", "spec"),
    "ReplicaSet": ("spec", "template", "spec"),
    "ReplicationController": ("spec", "template", "spec"),
    "Job": ("spec", "template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
"""Kinds that have containers, and where their pod's spec is."""

LEAST_GRACE_S = 2.0
"""The kubelet's minimumGracePeriodInSeconds."""

_POD_NOTES = {
    "hostNetwork": "the network is this host's in any case",
    "hostPID": "the program still gets a pid namespace of its own; --no-pid-namespace",
    "shareProcessNamespace": "there the pod's pause is process 1; --no-pid-namespace comes nearest",
    "runtimeClassName": "runs without that runtime",
    "hostAliases": "/etc/hosts is this host's",
    "dnsConfig": "DNS is this host's",
    "initContainers": "not run; name one by --container",
    "ephemeralContainers": "not run",
}
_POD_SECURITY_NOTES = {
    "sysctls": "not set",
    "seLinuxOptions": "not set",
    "seccompProfile": "not set",
    "appArmorProfile": "not set",
    "windowsOptions": "this is no Windows",
}
_CONTAINER_SECURITY_NOTES = {
    "seLinuxOptions": "not set",
    "seccompProfile": "not set",
    "appArmorProfile": "not set",
    "procMount": "not set",
    "windowsOptions": "this is no Windows",
}
_CONTAINER_NOTES = {
    "livenessProbe": "not run",
    "readinessProbe": "not run",
    "startupProbe": "not run",
    "restartPolicy": "the container is not started again",
    "volumeDevices": "not there",
    "ports": "on the network where it runs, nothing is forwarded",
}
_READ = {
    "name", "image", "command", "args", "workingDir", "env", "envFrom", "resources", "lifecycle",
    "securityContext", "stdin", "stdinOnce", "tty", "volumeMounts",
}  # fmt: skip
_WITHOUT_EFFECT = {
    "imagePullPolicy",
    "resizePolicy",
    "restartPolicyRules",
    "terminationMessagePath",
    "terminationMessagePolicy",
}
_METADATA_KEY = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class Pod(NamedTuple):
    """A pod's spec, and the document that makes it."""

    kind: str
    name: str
    spec: Field
    metadata: Field | None
    status: Field | None
    namespace: str

    @property
    def pod_name(self) -> str:
        """What the pod is called. That of most workloads ends by chance; here it ends so."""
        if self.kind == "Pod":
            return self.name
        return f"{self.name}-0" if self.kind == "StatefulSet" else f"{self.name}-repro"


class Candidate(NamedTuple):
    """A container that may be meant. ``is_main``: none of those that only prepare."""

    pod: Pod
    field: Field
    is_main: bool

    @property
    def name(self) -> str:
        return self.field.need("name").text()


def is_kubernetes(document: Field) -> bool:
    return document.is_map() and {"kind", "apiVersion"} <= set(document.names())


class Manifest:
    """All that a file holds: pods, and what they take variables from."""

    def __init__(self, documents: list[Field]) -> None:
        self.pods: list[Pod] = []
        self.objects = Objects()
        self.kinds: list[str] = []
        for document in documents:
            self._add(document, depth=0)

    def _add(self, document: Field, depth: int) -> None:
        kind = document.need("kind").text()
        if kind.endswith("List") and depth < 2 and document.get("items") is not None:
            for item in document.need("items").items():
                self._add(item, depth + 1)
            return
        self.kinds.append(kind)
        if kind in ("ConfigMap", "Secret"):
            self.objects.add(document, kind)
        elif kind in POD_SPECS:
            self.pods.append(_pod(document, kind))

    def candidates(self) -> Iterator[Candidate]:
        for pod in self.pods:
            containers = pod.spec.need("containers").items()
            if not containers:
                raise pod.spec.need("containers").error(
                    "is empty; a pod has at least one container"
                )
            for field in containers:
                yield Candidate(pod, field, True)
            for field in pod.spec.list_of("initContainers"):
                if not _installs_wrapper(field):
                    yield Candidate(pod, field, False)


def _pod(document: Field, kind: str) -> Pod:
    spec = document
    for name in POD_SPECS[kind]:
        spec = spec.need(name)
    name_field = document.at("metadata", "name") or document.at("metadata", "generateName")
    namespace = document.at("metadata", "namespace")
    own = document if kind == "Pod" else _template(document, kind)
    return Pod(
        kind,
        name_field.text().rstrip("-") if name_field else kind.lower(),
        spec,
        own.get("metadata"),
        document.get("status") if kind == "Pod" else None,
        namespace.text() if namespace else "default",
    )


def _template(document: Field, kind: str) -> Field:
    for name in POD_SPECS[kind][:-1]:
        document = document.need(name)
    return document


def _installs_wrapper(container: Field) -> bool:
    """AnvilOps' own initContainer: its only argument is the volume that its apps then mount."""
    args = container.get("args")
    words = args.texts() if args else ()
    return len(words) == 1 and is_wrapper(words[0].removesuffix("-volume"))


def container(candidate: Candidate, manifest: Manifest, given: Mapping[str, str]) -> Container:
    """One container, with all that its pod says of it.

    Args:
        given: variables from elsewhere.

    Raises:
        ManifestError: the manifest says something that Kubernetes would refuse.
    """
    pod, field, _ = candidate
    notes: list[Note] = []
    variables = Variables(manifest.objects, given, lambda path: _downward(pod, path))
    variables.read(field)
    known = dict(given) | variables.values
    command, args = _words(field, "command", known), _words(field, "args", known)
    own = unwrapped(command, args)
    if own is not None:
        if not own:
            raise field.error(
                "has log-shipper as its command, but no command for it; give it in args"
            )
        command, args = own, ()
    cwd = field.get("workingDir")
    security = _Security(pod.spec.get("securityContext"), field.get("securityContext"))
    resources = field.at("resources", "limits")
    memory, cpus = (resources and resources.get(name) for name in ("memory", "cpu"))
    image, hostname = field.get("image"), pod.spec.get("hostname")
    grace = pod.spec.get("terminationGracePeriodSeconds")
    pre_stop, stop_signal = _lifecycle(field, notes)
    scratch = _volumes(pod.spec, field, notes)
    _note_rest(pod, field, notes)
    return Container(
        name=candidate.name,
        source=f"{pod.kind} {pod.name}",
        command=command,
        args=args,
        env=tuple(variables.values.items()),
        missing=tuple(variables.missing),
        cwd=cwd.text() if cwd and cwd.text() else None,
        tty=_truth(field, "tty"),
        stdin=_truth(field, "stdin"),
        stdin_once=_truth(field, "stdinOnce"),
        user=security.number("runAsUser"),
        group=security.number("runAsGroup"),
        groups=security.groups(),
        memory_bytes=_memory_bytes(memory) if memory else None,
        cpus=float(quantity(cpus)) or None if cpus else None,
        read_only_root=security.truth("readOnlyRootFilesystem"),
        scratch=scratch,
        no_new_privileges=security.refuses("allowPrivilegeEscalation"),
        privileged=security.truth("privileged"),
        add_capabilities=security.capabilities("add"),
        drop_capabilities=security.capabilities("drop"),
        grace_period_s=float(grace.whole()) if grace else DEFAULT_GRACE_PERIOD_S,
        least_grace_s=LEAST_GRACE_S,
        stop_signal=stop_signal,
        pre_stop=pre_stop,
        image=image.text() if image else None,
        hostname=(hostname.text() if hostname else pod.pod_name)[:63].rstrip(".-"),
        is_wrapped=own is not None,
        notes=(*security.notes(), *notes, *variables.notes),
    )


def _memory_bytes(field: Field) -> int | None:
    """None for 0, which is no limit; no more than setrlimit(2) takes."""
    return min(int(quantity(field)), 2**63 - 1) or None


def _truth(field: Field, name: str) -> bool:
    found = field.get(name)
    return found is not None and found.truth()


def _words(field: Field, name: str, variables: Mapping[str, str]) -> tuple[str, ...] | None:
    found = field.get(name)
    words = found.texts() if found else ()
    # An empty list is as good as none.
    return tuple(expand(word, variables) for word in words) if words else None


def _downward(pod: Pod, path: str) -> str | None:
    """What a fieldRef's path stands for; None where only the cluster knows."""
    keyed = _METADATA_KEY.fullmatch(path)
    if keyed:
        held = pod.metadata.at(keyed[1], keyed[2]) if pod.metadata else None
        return held.text() if held else ""
    match path:
        case "metadata.name":
            return pod.pod_name
        case "metadata.namespace":
            return pod.namespace
        case "spec.serviceAccountName":
            account = pod.spec.get("serviceAccountName") or pod.spec.get("serviceAccount")
            return account.text() if account else "default"
        case "spec.nodeName":
            node = pod.spec.get("nodeName")
            return node.text() if node else None
        case "metadata.uid":
            uid = pod.metadata.get("uid") if pod.metadata and pod.kind == "Pod" else None
            return uid.text() if uid else None
        case "status.podIP" | "status.hostIP":
            address = pod.status.get(path.partition(".")[2]) if pod.status else None
            return address.text() if address else None
        case "status.podIPs" | "status.hostIPs":
            addresses = pod.status.list_of(path.partition(".")[2]) if pod.status else []
            return ",".join(one.need("ip").text() for one in addresses) or None
    return None


class _Security:
    """The container's securityContext before its pod's."""

    def __init__(self, of_pod: Field | None, own: Field | None) -> None:
        self._of_pod = of_pod
        self._own = own
        user = self._get("runAsUser")
        not_root = self._get("runAsNonRoot")
        if not_root is not None and not_root.truth() and user is not None and user.whole() == 0:
            raise user.error("is 0, which runAsNonRoot forbids; the kubelet would not start this")

    def _get(self, name: str) -> Field | None:
        own = self._own.get(name) if self._own else None
        return own or (self._of_pod.get(name) if self._of_pod else None)

    def number(self, name: str) -> int | None:
        found = self._get(name)
        return found.whole() if found else None

    def truth(self, name: str) -> bool:
        return self._own is not None and _truth(self._own, name)

    def refuses(self, name: str) -> bool:
        found = self._own.get(name) if self._own else None
        return found is not None and not found.truth()

    def groups(self) -> tuple[int, ...]:
        if self._of_pod is None:
            return ()
        found = [one.whole() for one in self._of_pod.list_of("supplementalGroups")]
        owner = self._of_pod.get("fsGroup")
        if owner is not None:
            found.append(owner.whole())
        return tuple(dict.fromkeys(found))

    def capabilities(self, which: str) -> tuple[str, ...]:
        found = self._own.at("capabilities", which) if self._own else None
        return tuple(name.upper().removeprefix("CAP_") for name in found.texts()) if found else ()

    def notes(self) -> Iterator[Note]:
        for context, table in (
            (self._of_pod, _POD_SECURITY_NOTES),
            (self._own, _CONTAINER_SECURITY_NOTES),
        ):
            for name, field in context.fields() if context else ():
                if name in table:
                    yield Note(field.path, table[name])


def _lifecycle(container: Field, notes: list[Note]) -> tuple[PreStop | None, str]:
    lifecycle = container.get("lifecycle")
    if lifecycle is None:
        return None, DEFAULT_STOP_SIGNAL
    stop_signal = DEFAULT_STOP_SIGNAL
    named = lifecycle.get("stopSignal")
    if named is not None:
        try:
            stop_signal = signal_name(named.text())
        except ValueError as error:
            raise named.error(str(error)) from None
    post_start = lifecycle.get("postStart")
    if post_start is not None:
        notes.append(Note(post_start.path, "not run"))
    pre_stop = lifecycle.get("preStop")
    if pre_stop is None:
        return None, stop_signal
    command, pause = pre_stop.at("exec", "command"), pre_stop.at("sleep", "seconds")
    if command is not None:
        words = command.texts()
        if not words:
            raise command.error("is empty; give it a command")
        return PreStop(command=words), stop_signal
    if pause is not None:
        return PreStop(sleep_s=float(pause.whole())), stop_signal
    for name in ("httpGet", "tcpSocket"):
        if pre_stop.get(name) is not None:
            notes.append(Note(f"{pre_stop.path}.{name}", "not sent"))
            return None, stop_signal
    raise pre_stop.error("has none of exec, sleep, httpGet")


def _volumes(spec: Field, container: Field, notes: list[Note]) -> tuple[str, ...]:
    """Where emptyDirs are mounted; all other volumes are noted."""
    kinds: dict[str, tuple[str, Field]] = {}
    for volume in spec.list_of("volumes"):
        kind = next((name for name in volume.names() if name != "name"), "emptyDir")
        kinds[volume.need("name").text()] = kind, volume
    scratch = []
    for mount in container.list_of("volumeMounts"):
        name, path = mount.need("name"), mount.need("mountPath").text()
        if path == MOUNT:
            continue
        claimed = name.text() not in kinds and spec.path.endswith("template.spec")
        if name.text() not in kinds and not claimed:
            raise name.error(f"there is no volume {name.shown()}; add it to {spec.path}.volumes")
        kind = "persistentVolumeClaim" if claimed else kinds[name.text()][0]
        if kind == "emptyDir":
            scratch.append(path)
        else:
            notes.append(Note(mount.path, f"{kind} {name.shown()} is not at {_short(path)}"))
    return tuple(scratch)


def _short(path: str) -> str:
    return ascii(path)[1:-1][:60]


def _note_rest(pod: Pod, container: Field, notes: list[Note]) -> None:
    for name, field in pod.spec.fields():
        if name == "initContainers" and all(_installs_wrapper(one) for one in field.items()):
            continue
        if name in _POD_NOTES and field.value is not False:
            notes.append(Note(field.path, _POD_NOTES[name]))
    for name, field in container.fields():
        if name in _CONTAINER_NOTES:
            notes.append(Note(field.path, _CONTAINER_NOTES[name]))
        elif name not in _READ and name not in _WITHOUT_EFFECT:
            notes.append(Note(field.path, "not known here; is it misspelt?"))
    limits = container.at("resources", "limits")
    for name, field in limits.fields() if limits else ():
        if name not in ("memory", "cpu"):
            notes.append(Note(field.path, "not limited"))
