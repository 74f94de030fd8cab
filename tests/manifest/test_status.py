"""What went wrong, told once per cause."""

from __future__ import annotations

from lanewise.manifest.status import causes


def test_equal_causes_are_one_line_with_their_number_the_commonest_first() -> None:
    grid = [(f"s{n}", "failed", f"the error is {n}.5e-6; raise image.padding") for n in range(41)]
    single = [("a", "non_finite", ""), ("b", "not_converged", "k̂ is 0.9"), ("c", "failed", "x"), ("d", "failed", "y")]
    assert causes([*single, *grid]) == [
        "41 ×, e.g. s0: failed: the error is 0.5e-6; raise image.padding",
        "a: non finite",
        "b: not converged: k̂ is 0.9",
        "… and 2 of other causes, in summary.csv",
    ]
    assert causes([]) == []
