"""``podsql.aio``: the same core, awaited."""

import asyncio

import pytest

import podsql
from podsql import aio

SQL = "SELECT sex, count(*) AS n, avg(age) AS a FROM visits GROUP BY sex ORDER BY sex"
ANSWER = [("f", 3, 143 / 3), ("m", 2, 40.0)]
SLOW = "SELECT count(*) FROM numbers a, numbers b, numbers c WHERE a.n * b.n + c.n = 7"


def test_every_call_has_its_awaited_twin(federation):
    async def work():
        async with await aio.connect(federation.membership(), purpose="care") as con:
            assert con.pods() == ("north", "south")
            async with await con.execute(SQL) as cursor:
                assert [column[0] for column in cursor.description] == ["sex", "n", "a"]
                assert await cursor.fetchone() == ANSWER[0]
                assert [row async for row in cursor] == ANSWER[1:]
                assert (cursor.pods, cursor.release) == (("north", "south"), "exact")
                assert len(cursor.query_id) == 32
            cursor = con.cursor()
            cursor.arraysize = 2
            await cursor.execute("SELECT visit_id FROM visits ORDER BY 1 LIMIT ?", (3,))
            assert await cursor.fetchmany() == [(1,), (2,)]
            assert await cursor.fetchmany(5) == [(3,)]
            assert (await (await con.execute(SQL)).arrow()).num_rows == 2
            assert (await (await con.execute(SQL)).df())["n"].tolist() == [3, 2]
            assert (await (await con.execute(SQL)).pl())["n"].to_list() == [3, 2]
            assert "north, south" in await con.explain(SQL)
            assert (await con.cursor().describe(SQL))[1][:2] == ("n", "BIGINT")
            await con.commit()
            await con.rollback()
        with pytest.raises(podsql.InterfaceError):
            await con.execute(SQL)

    asyncio.run(work())


def test_statements_run_side_by_side(federation):
    async def work():
        async with await aio.connect(federation.membership()) as con:
            cursors = await asyncio.gather(*(con.execute(SQL) for _ in range(6)))
            return await asyncio.gather(*(cursor.fetchall() for cursor in cursors))

    assert asyncio.run(work()) == [ANSWER] * 6


def test_a_cancelled_task_stops_its_statement_and_the_cursor_goes_on(federation):
    async def work():
        async with await aio.connect(federation.membership()) as con:
            cursor = con.cursor()
            task = asyncio.create_task(cursor.execute(SLOW, timeout=120))
            while cursor.sync.plan is None:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await (await cursor.execute(SQL)).fetchall()

    assert asyncio.run(work()) == ANSWER


def test_a_refusal_is_raised_where_it_is_awaited(federation):
    async def work():
        async with await aio.connect(federation.membership()) as con:
            with pytest.raises(podsql.ProgrammingError):
                await con.execute("SELECT nothing FROM visits")
            with pytest.raises(podsql.OperationalError) as caught:
                await con.execute(SLOW, timeout=1)
            assert caught.value.code == "TIMEOUT"

    asyncio.run(work())
