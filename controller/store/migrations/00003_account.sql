-- +goose Up
CREATE TABLE account (
  id      TEXT NOT NULL PRIMARY KEY,
  tenant  TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  name    TEXT NOT NULL,
  role    TEXT NOT NULL,
  created INTEGER NOT NULL,
  UNIQUE (tenant, name)
) STRICT;

CREATE TABLE api_token (
  id        TEXT NOT NULL PRIMARY KEY,
  account   TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
  name      TEXT NOT NULL,
  hash      BLOB NOT NULL UNIQUE,
  scopes    TEXT NOT NULL, -- JSON array; empty is all that the role may
  created   INTEGER NOT NULL,
  expires   INTEGER NOT NULL,
  last_used INTEGER NOT NULL,
  UNIQUE (account, name)
) STRICT;

CREATE TABLE audit (
  id       TEXT NOT NULL PRIMARY KEY, -- begins with the time: its order is that of time
  tenant   TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  at       INTEGER NOT NULL,
  actor    TEXT NOT NULL,
  token    TEXT NOT NULL,
  address  TEXT NOT NULL,
  action   TEXT NOT NULL,
  object   TEXT NOT NULL,
  before   TEXT NOT NULL, -- JSON, empty for what was not there
  after    TEXT NOT NULL  -- JSON, empty for what is not there any more
) STRICT;
CREATE INDEX audit_of_tenant ON audit (tenant, id);

CREATE TABLE idempotency (
  token   TEXT NOT NULL REFERENCES api_token (id) ON DELETE CASCADE,
  name    TEXT NOT NULL,
  request BLOB NOT NULL, -- SHA-256 of method, path and body
  answer  BLOB NOT NULL, -- sealed with a key of the bearer
  created INTEGER NOT NULL,
  PRIMARY KEY (token, name)
) STRICT;
CREATE INDEX idempotency_by_age ON idempotency (created);
