"""The store's tables, as migrations: each one brings a file from its number to the next.

Rule to keep: a migration that was released is never edited; what changes is a new one at the end.
"""

from typing import Final

MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE people (identity BLOB PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE grants (
      grant_id TEXT PRIMARY KEY, analyst BLOB NOT NULL, pod TEXT NOT NULL, tables TEXT NOT NULL,
      purpose TEXT NOT NULL, project TEXT NOT NULL, release TEXT NOT NULL,
      since INTEGER NOT NULL, until INTEGER NOT NULL, created INTEGER NOT NULL, revoked INTEGER);
    CREATE INDEX by_analyst ON grants (analyst);
    CREATE TABLE decisions (
      number INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, pod TEXT NOT NULL,
      analyst BLOB NOT NULL, tables TEXT NOT NULL, purpose TEXT NOT NULL, project TEXT NOT NULL,
      allow INTEGER NOT NULL, reason TEXT NOT NULL, query_hash BLOB NOT NULL);
    """,
    """
    ALTER TABLE people ADD COLUMN organisation TEXT NOT NULL DEFAULT '';
    ALTER TABLE people ADD COLUMN contact TEXT NOT NULL DEFAULT '';
    ALTER TABLE people ADD COLUMN trained_until INTEGER;
    ALTER TABLE people ADD COLUMN ended INTEGER;
    ALTER TABLE grants ADD COLUMN review INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE grants ADD COLUMN given_by TEXT NOT NULL DEFAULT '';
    ALTER TABLE grants ADD COLUMN revoked_by TEXT NOT NULL DEFAULT '';
    CREATE INDEX by_time ON decisions (time);
    CREATE TABLE projects (
      name TEXT PRIMARY KEY, title TEXT NOT NULL, purpose TEXT NOT NULL, lawful_basis TEXT NOT NULL,
      ethics TEXT NOT NULL, ends INTEGER NOT NULL, created INTEGER NOT NULL, closed INTEGER);
    CREATE TABLE requests (
      number INTEGER PRIMARY KEY AUTOINCREMENT, analyst BLOB NOT NULL, pod TEXT NOT NULL,
      tables TEXT NOT NULL, purpose TEXT NOT NULL, project TEXT NOT NULL, release TEXT NOT NULL,
      review INTEGER NOT NULL, until INTEGER NOT NULL, reason TEXT NOT NULL, asked_by TEXT NOT NULL,
      created INTEGER NOT NULL, state TEXT NOT NULL, first_by TEXT NOT NULL DEFAULT '',
      decided_by TEXT NOT NULL DEFAULT '', decided INTEGER, note TEXT NOT NULL DEFAULT '',
      grant_id TEXT NOT NULL DEFAULT '');
    CREATE INDEX by_state ON requests (state);
    CREATE TABLE pods (
      name TEXT PRIMARY KEY, identity BLOB NOT NULL, seen INTEGER NOT NULL, report BLOB NOT NULL);
    CREATE TABLE orders (id BLOB PRIMARY KEY, time INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE reviews (
      id TEXT PRIMARY KEY, pod TEXT NOT NULL, analyst BLOB NOT NULL, purpose TEXT NOT NULL,
      project TEXT NOT NULL, tables TEXT NOT NULL, release TEXT NOT NULL, rows INTEGER NOT NULL,
      withheld INTEGER NOT NULL, size INTEGER NOT NULL, columns INTEGER NOT NULL,
      query_hash BLOB NOT NULL, result_hash BLOB NOT NULL, created INTEGER NOT NULL,
      state TEXT NOT NULL, first_by TEXT NOT NULL DEFAULT '', decided_by TEXT NOT NULL DEFAULT '',
      decided INTEGER, note TEXT NOT NULL DEFAULT '');
    CREATE TABLE officers (
      name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT NOT NULL DEFAULT '',
      identity BLOB, oidc TEXT NOT NULL DEFAULT '', created INTEGER NOT NULL, ended INTEGER,
      failed INTEGER NOT NULL DEFAULT 0, locked_until INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE links (
      token_hash BLOB PRIMARY KEY, officer TEXT NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE passkeys (
      credential BLOB PRIMARY KEY, officer TEXT NOT NULL, public_key BLOB NOT NULL,
      count INTEGER NOT NULL, label TEXT NOT NULL, created INTEGER NOT NULL);
    CREATE TABLE sessions (
      token_hash BLOB PRIMARY KEY, officer TEXT NOT NULL, csrf TEXT NOT NULL,
      created INTEGER NOT NULL, seen INTEGER NOT NULL, proved INTEGER NOT NULL,
      state TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE history (
      number INTEGER PRIMARY KEY, time INTEGER NOT NULL, actor TEXT NOT NULL, act TEXT NOT NULL,
      object TEXT NOT NULL, detail TEXT NOT NULL, hash BLOB NOT NULL);
    """,
)
