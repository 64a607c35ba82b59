-- Uniqueness among nodes in service is the database's duty, so that no race
-- between two enrolments makes one TPM two nodes.
CREATE TABLE nodes (
  id            TEXT    PRIMARY KEY,
  host_id       TEXT    NOT NULL,
  ak_name       BLOB    NOT NULL,
  node_key      TEXT    NOT NULL,
  state         TEXT    NOT NULL,
  version       INTEGER NOT NULL,
  journal_index INTEGER NOT NULL,
  record        BLOB    NOT NULL  -- JSON; the columns above must agree with it
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX nodes_host ON nodes (host_id)  WHERE state <> 'retired';
CREATE UNIQUE INDEX nodes_ak   ON nodes (ak_name)  WHERE state <> 'retired';
CREATE UNIQUE INDEX nodes_key  ON nodes (node_key) WHERE state <> 'retired';
CREATE INDEX nodes_history     ON nodes (host_id, journal_index);

CREATE TABLE positions (
  node TEXT PRIMARY KEY REFERENCES nodes (id),
  data BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE invites (
  token        TEXT    PRIMARY KEY,  -- SHA-256; the token itself is nowhere
  node         TEXT    NOT NULL,
  role         TEXT    NOT NULL,
  pre_approved INTEGER NOT NULL,
  operator     TEXT    NOT NULL,
  created      INTEGER NOT NULL,     -- Unix seconds, as all times here
  not_after    INTEGER NOT NULL,
  used         INTEGER               -- NULL until consumed
) STRICT, WITHOUT ROWID;

CREATE TABLE policies (
  digest   TEXT    PRIMARY KEY,
  version  INTEGER NOT NULL,
  contents BLOB    NOT NULL          -- JSON of the set
) STRICT, WITHOUT ROWID;

CREATE TABLE approvals (
  seq      INTEGER PRIMARY KEY,
  digest   TEXT    NOT NULL REFERENCES policies (digest),
  operator TEXT    NOT NULL,
  member   TEXT    NOT NULL,
  note     BLOB    NOT NULL,
  at       INTEGER NOT NULL,
  UNIQUE (digest, operator)
) STRICT;

CREATE TABLE active (
  role    TEXT    PRIMARY KEY,
  digest  TEXT    NOT NULL REFERENCES policies (digest),
  version INTEGER NOT NULL           -- the highest that was ever active
) STRICT, WITHOUT ROWID;

CREATE TABLE progress (
  one           INTEGER PRIMARY KEY CHECK (one = 1),
  serial        INTEGER NOT NULL,
  roster_number INTEGER,
  roster_note   BLOB,
  journal_size  INTEGER NOT NULL,
  journal_root  BLOB    NOT NULL
) STRICT;
INSERT INTO progress (one, serial, journal_size, journal_root) VALUES (1, 0, 0, zeroblob(32));

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 1;
