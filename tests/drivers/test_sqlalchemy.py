"""The dialect: statements, reflection and writing through SQLAlchemy, pandas and polars."""

import datetime as dt
import uuid
from decimal import Decimal

import duckdb
import pandas as pd
import polars as pl
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

import podsql
from podsql.alchemy.words import RESERVED

SQL = "SELECT sex, count(*) AS n FROM visits GROUP BY sex ORDER BY sex"


@pytest.fixture(scope="module")
def engine(federation):
    made = sa.create_engine("podsql://", creator=federation.connect, poolclass=StaticPool)
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def visits(engine):
    return sa.Table("visits", sa.MetaData(), autoload_with=engine)


def test_a_url_names_the_file_and_carries_no_secret(member_file, passphrase, monkeypatch):
    monkeypatch.setenv("PODSQL_PASSPHRASE", passphrase)
    engine = sa.create_engine(f"podsql:///{member_file}?purpose=care&timeout=30")
    with engine.connect() as con:
        assert con.exec_driver_sql(SQL).all() == [("f", 3), ("m", 2)]
        own = con.connection.dbapi_connection
        assert (own.purpose, own.timeout) == ("care", 30.0)
    engine.dispose()
    for wrong in ("podsql://user:secret-91@host/x", f"podsql:///{member_file}?password=secret-91"):
        with pytest.raises(sa.exc.ArgumentError) as caught:
            sa.create_engine(wrong).connect()
        assert "secret-91" not in str(caught.value)


def test_the_catalog_is_reflected(engine, federation):
    inspector = sa.inspect(engine)
    assert inspector.default_schema_name == "main"
    assert inspector.get_schema_names() == ["main", "scratch"]
    assert inspector.get_table_names() == ["long", "numbers", "visits"]
    assert inspector.has_table("visits")
    assert not inspector.has_table("vists")
    assert inspector.get_view_names() == []
    columns = {column["name"]: column for column in inspector.get_columns("visits")}
    assert [type(column["type"]) for column in columns.values()] == [
        sa.BIGINT,
        sa.VARCHAR,
        sa.BIGINT,
        sa.TIMESTAMP,
    ]
    assert inspector.get_pk_constraint("visits")["constrained_columns"] == []
    with pytest.raises(sa.exc.NoSuchTableError):
        inspector.get_columns("vists")
    with engine.connect() as con:
        assert con.connection.dbapi_connection.execute("SHOW TABLES").receipt == ()


def test_expressions_become_statements_that_the_planner_knows(engine, visits):
    c = visits.c
    older = sa.case((c.age > 40, "old"), else_="young").label("band")
    statement = (
        sa.select(older, sa.func.count().label("n"), (sa.func.sum(c.age) / 2).label("half"))
        .where(c.sex.in_(["f", "m"]), c.sex.like("%f%") | (c.age.between(1, 99)))
        .group_by(older)
        .order_by(sa.desc("band"))
        .limit(5)
        .offset(0)
    )
    with engine.connect() as con:
        assert con.execute(statement).all() == [("young", 2, 31.5), ("old", 3, 80.0)]
        paged = sa.select(c.visit_id).order_by(c.visit_id).offset(3)
        assert con.execute(paged).scalars().all() == [4, 5]
        assert con.execute(paged.limit(1)).scalar_one() == 4
        joined = sa.select(sa.func.count()).select_from(
            visits.alias("a").join(visits.alias("b"), sa.text("a.visit_id = b.visit_id"))
        )
        assert con.execute(joined).scalar_one() == 5
        cast = sa.select(sa.cast(sa.func.max(c.age), sa.Float), sa.func.max(c.seen))
        assert con.execute(cast).one() == (62.0, dt.datetime(1970, 1, 3))


def test_words_that_duckdb_reserves_are_quoted():
    known = duckdb.sql(
        "SELECT keyword_name FROM duckdb_keywords() "
        "WHERE keyword_category IN ('reserved', 'type_function')"
    ).fetchall()
    assert {word for (word,) in known} == RESERVED


def test_begin_commit_and_rollback_are_silent(engine, visits):
    with engine.begin() as con:
        assert con.execute(sa.select(sa.func.count()).select_from(visits)).scalar_one() == 5
        con.rollback()
    with engine.connect() as con:
        assert con.get_isolation_level() == "AUTOCOMMIT"


def test_a_refusal_keeps_its_class_code_and_hint(engine):
    with engine.connect() as con, pytest.raises(sa.exc.ProgrammingError) as caught:
        con.exec_driver_sql("SELECT sx FROM visits")
    assert isinstance(caught.value.orig, podsql.ProgrammingError)
    assert "sex" in caught.value.orig.hint


def test_scratch_tables_are_made_filled_reflected_and_dropped(engine):
    class Model(DeclarativeBase):
        metadata = sa.MetaData(schema="scratch")

    class Note(Model):
        __tablename__ = "notes"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        text: Mapped[str | None]
        price: Mapped[Decimal | None] = mapped_column(sa.Numeric(8, 2))
        at: Mapped[dt.datetime | None]
        key: Mapped[uuid.UUID | None]
        raw: Mapped[bytes | None]

    full = {
        "text": "it's % :x ?",
        "price": Decimal("12.30"),
        "at": dt.datetime(2020, 1, 2, 3, 4, 5),
        "key": uuid.uuid4(),
        "raw": b"\x00\xff",
    }
    Model.metadata.create_all(engine)
    Model.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Note(id=1, **full), Note(id=2)])
        session.commit()
        found = session.scalars(sa.select(Note).order_by(Note.id)).all()
        assert {name: getattr(found[0], name) for name in full} == full
        found[1].text = "changed"
        session.commit()
        session.expire_all()
        assert session.get(Note, 2).text == "changed"
        session.delete(session.get(Note, 1))
        session.commit()
        assert session.scalar(sa.select(sa.func.count()).select_from(Note)) == 1
    inspector = sa.inspect(engine)
    assert inspector.get_temp_table_names() == inspector.get_table_names("scratch") == ["notes"]
    types = [str(column["type"]) for column in inspector.get_columns("notes", "scratch")]
    assert types == ["INTEGER", "VARCHAR", "DECIMAL(8, 2)", "TIMESTAMP", "UUID", "BLOB"]
    Model.metadata.drop_all(engine)
    assert not sa.inspect(engine).has_table("notes", "scratch")


def test_pandas_reads_and_writes_through_the_engine(engine):
    frame = pd.read_sql(sa.text(f"{SQL} LIMIT :k"), engine, params={"k": 2})
    assert frame.to_dict("list") == {"sex": ["f", "m"], "n": [3, 2]}
    assert len(pd.read_sql_table("visits", engine)) == 5
    chunks = pd.read_sql("SELECT row_id FROM long", engine, chunksize=50_000)
    assert sum(len(chunk) for chunk in chunks) == 120_000
    frame.to_sql("frame", engine, schema="scratch", index=False)
    assert pd.read_sql("SELECT sum(n) AS n FROM scratch.frame", engine)["n"].tolist() == [5]
    with engine.connect() as con:
        con.exec_driver_sql("DROP TABLE scratch.frame")


def test_pandas_reads_through_the_bare_connection(con):
    with pytest.warns(UserWarning, match="only supports SQLAlchemy"):
        assert pd.read_sql(SQL, con)["n"].tolist() == [3, 2]


def test_polars_reads_through_the_engine_and_through_the_driver(engine, con):
    wanted = {"sex": ["f", "m"], "n": [3, 2]}
    assert pl.read_database(SQL, engine).to_dict(as_series=False) == wanted
    assert pl.read_database(SQL, con).to_dict(as_series=False) == wanted
    parts = pl.read_database("SELECT row_id FROM long", con, iter_batches=True, batch_size=50_000)
    assert sum(len(part) for part in parts) == 120_000
