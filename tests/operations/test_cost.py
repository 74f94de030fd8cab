"""Time and money of a campaign, from what it has committed."""

from __future__ import annotations

import json
import re

import pytest

from conftest import Lanewise, Write
from lanewise.operations import cost


def test_time_and_price_follow_from_the_rate_and_the_number_of_realizations() -> None:
    found = cost.cost(cost.Rate(7.2, 50), n_open=500, n_total=1500, price_per_hour=2.5)
    assert found is not None
    assert (found.seconds_open, found.price_open) == (3600, 2.5)
    assert (found.seconds_total, found.price_total) == (3 * 3600, 7.5)
    assert cost.text(found, 500).splitlines() == [
        "time: 60 min for the 500 open realizations, 3.0 h for all; "
        "7.2 s each in one container, from 50 committed ones",
        "price: 2.50 for the open ones, 7.50 for all",
    ]


@pytest.mark.long
def test_a_plan_tells_time_and_price_once_a_chunk_is_committed(write: Write, lanewise: Lanewise) -> None:
    path = write(realizations={"count": 2}, batch={"size": 2})
    code, out, _ = lanewise("plan", path, "--no-memory", "--price-per-hour", "1e6")
    assert code == 0
    assert f"a pilot: lanewise run {path} --batch-index 0" in out
    assert lanewise("run", path, "--batch-index", "0")[0] == 0
    _, out, _ = lanewise("plan", path, "--no-memory", "--price-per-hour", "1e6")
    assert re.search(r"^time: .* for the 2 open realizations, .* from 2 committed ones\nprice: ", out, re.MULTILINE)
    told = json.loads(lanewise("plan", path, "--no-memory", "--price-per-hour", "1e6", "--json")[1])["cost"]
    assert told["seconds_total"] == pytest.approx(4 * told["seconds_each"])
    assert told["price_open"] == pytest.approx(told["seconds_open"] / 3600 * 1e6)
