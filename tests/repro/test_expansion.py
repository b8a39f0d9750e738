"""``$(VAR)``, by the table of Kubernetes' own tests (expand_test.go)."""

from __future__ import annotations

import pytest

from ptyshipper.repro.expansion import expand

VARIABLES = {"VAR_A": "A", "VAR_B": "B", "VAR_C": "C", "VAR_REF": "$(VAR_A)", "VAR_EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(VAR_A)", "A"),
        ("___$(VAR_B)___", "___B___"),
        ("___$(VAR_C)", "___C"),
        ("$(VAR_A)-$(VAR_A)", "A-A"),
        ("$(VAR_REF)-1", "$(VAR_A)-1"),
        ("$(VAR_EMPTY)", ""),
        ("foo-$(VAR_EMPTY)-bar", "foo--bar"),
        ("$$(VAR_A)", "$(VAR_A)"),
        ("foo$$(VAR_A)bar", "foo$(VAR_A)bar"),
        ("$$$(VAR_A)", "$A"),
        ("$$$$(VAR_A)", "$$(VAR_A)"),
        ("$$$$$(VAR_A)", "$$A"),
        ("$VAR_A)", "$VAR_A)"),
        ("${VAR_A}", "${VAR_A}"),
        ("$(NOT_THERE)", "$(NOT_THERE)"),
        ("$(VAR_A", "$(VAR_A"),
        ("$()", "$()"),
        ("$($(VAR_A))", "$($(VAR_A))"),
        ("$", "$"),
        ("a$", "a$"),
        ("$$", "$"),
        ("", ""),
        ("\n$(VAR_A)\n", "\nA\n"),
    ],
)
def test_is_as_kubernetes_has_it(text: str, expanded: str) -> None:
    assert expand(text, VARIABLES) == expanded
