"""Attack 58: a statement that reaches for the network finds none, twice over."""

import socket

import pytest

from podsql.engine.job import Failed


@pytest.mark.parametrize("scheme", ["http", "https", "s3", "gcs", "hf", "file"])
def test_attack_58_no_url_is_opened_from_a_statement(engine, scheme):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        for reader in ("read_parquet", "read_csv", "read_text", "read_json"):
            last = engine.run(f"SELECT * FROM {reader}('{scheme}://{host}/metadata')").events[-1]
            assert isinstance(last, Failed)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_attack_58_no_extension_can_be_loaded_or_fetched(engine):
    for sql in (
        "LOAD httpfs",
        "INSTALL httpfs",
        "SELECT * FROM 'https://example.invalid/x.parquet'",
    ):
        assert isinstance(engine.run(sql).events[-1], Failed)
