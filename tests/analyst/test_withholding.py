"""A group is kept only if every pod that withheld something reported it."""

import pyarrow as pa
import pytest

from podsql.analyst.withholding import settle_withheld
from podsql.errors import PolicyError
from podsql.planner.fragment import Aggregate, Column, Field
from podsql.planner.plan import Block, Options, Plan, Stage


def plan_of(**changes: object) -> Plan:
    key = Column(name="k0", sql="region", type="VARCHAR")
    stage = Stage(
        name="p0",
        pods=("a", "b"),
        fragment=Aggregate(source="FROM t", keys=(key,), aggregates=()),
        fields=(Field(name="k0", type="VARCHAR"),),
    )
    options = changes.pop("options", Options())
    block = Block(**{"stages": ("p0",), "group_keys": ("k0",), **changes})  # type: ignore[arg-type]
    return Plan(
        statement="",
        stages=(stage,),
        final="",
        columns=(),
        tables=("main.t",),
        options=options,
        blocks=(block,),
    )


def groups(*names: object) -> pa.Table:
    return pa.table({"k0": list(names)})


def test_group_missing_at_a_withholding_pod_goes_whole():
    gathered = {"p0": {"a": groups("n", "s"), "b": groups("n", "w")}}
    kept, withheld = settle_withheld(plan_of(), gathered, {"p0": {"b": 1}})
    assert kept["p0"]["a"]["k0"].to_pylist() == ["n"]
    assert kept["p0"]["b"]["k0"].to_pylist() == ["n", "w"]
    assert withheld == 1


def test_a_pod_that_does_not_say_how_many_still_takes_its_groups_along():
    gathered = {"p0": {"a": groups("n", "s"), "b": groups("n", "w")}}
    kept, withheld = settle_withheld(
        plan_of(crosses_groups=True), gathered, {"p0": {"a": 0, "b": 0}}
    )
    assert kept["p0"]["a"]["k0"].to_pylist() == kept["p0"]["b"]["k0"].to_pylist() == ["n"]
    assert withheld == 2


def test_null_and_nan_keys_are_groups_like_others():
    gathered = {"p0": {"a": groups(None, float("nan"), -0.0), "b": groups(float("nan"), None, 0.0)}}
    kept, withheld = settle_withheld(plan_of(), gathered, {"p0": {"a": 2, "b": 1}})
    assert kept["p0"]["a"].num_rows == kept["p0"]["b"].num_rows == 3
    assert withheld == 2


def test_groups_that_live_in_one_pod_stay_but_the_null_group():
    gathered = {"p0": {"a": groups("n", None), "b": groups("w")}}
    kept, withheld = settle_withheld(plan_of(local_key="k0"), gathered, {"p0": {"b": 2}})
    assert kept["p0"]["a"]["k0"].to_pylist() == ["n"]
    assert kept["p0"]["b"]["k0"].to_pylist() == ["w"]
    assert withheld == 2


def test_one_cell_for_all_rows_is_withheld_whole():
    with pytest.raises(PolicyError) as caught:
        settle_withheld(plan_of(group_keys=()), {"p0": {"a": pa.table({})}}, {"p0": {"a": 1}})
    assert caught.value.code == "WITHHELD"


def test_statement_that_combines_groups_is_refused_unless_it_says_omit():
    gathered = {"p0": {"a": groups("n"), "b": groups("n")}}
    with pytest.raises(PolicyError) as caught:
        settle_withheld(plan_of(crosses_groups=True), gathered, {"p0": {"a": 1}})
    assert caught.value.code == "WITHHELD"
    asked = plan_of(crosses_groups=True, options=Options(withheld="omit"))
    assert settle_withheld(asked, gathered, {"p0": {"a": 1}})[1] == 1
