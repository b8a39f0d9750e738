"""The AnvilOps pod, from the Dockerfile to the backend: built, played and killed on this machine.

::

    Dockerfile -> images.built_image -> archive -> podman.Podman -> pod.yaml played as podman.Pod
                  (buildah, cached)                (state of its own, taken away at the end)

``install_cost`` measures what an installation costs in the initContainer's limits, without podman.
"""
