"""Which capabilities a container's root keeps."""

from __future__ import annotations

from ptyshipper.repro.capabilities import DEFAULT, NAMES, available, kept, numbers_without


def test_numbers_are_the_kernels() -> None:
    """linux/capability.h, at its beginning, in between and at its end."""
    assert [NAMES.index(name) for name in ("CHOWN", "KILL", "SYS_ADMIN", "CHECKPOINT_RESTORE")] == [
        0, 5, 21, 40,
    ]  # fmt: skip
    mask = sum(1 << NAMES.index(name) for name in DEFAULT)
    assert mask == 0xA80425FB  # as /proc/1/status has it in any container of Docker's


def test_added_and_dropped() -> None:
    assert kept((), (), privileged=False) == DEFAULT
    assert kept(("SYS_ADMIN",), ("CHOWN",), privileged=False) == DEFAULT - {"CHOWN"} | {"SYS_ADMIN"}
    assert kept(("KILL",), ("ALL",), privileged=False) == {"KILL"}
    assert kept(("ALL",), ("CHOWN",), privileged=False) == set(NAMES) - {"CHOWN"}
    assert kept(("NONSENSE",), ("ALL",), privileged=False) == frozenset()
    assert kept((), ("ALL",), privileged=True) == set(NAMES)


def test_what_is_given_up_is_all_the_rest() -> None:
    assert set(numbers_without(frozenset())) >= set(range(38))
    assert 5 not in numbers_without(frozenset({"KILL"}))


def test_what_is_available_are_names() -> None:
    assert available() <= set(NAMES)
