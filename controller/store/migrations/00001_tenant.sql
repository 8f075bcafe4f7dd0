-- Written as SQLite's strict tables; PostgreSQL gets them translated
-- (dialect.schema). Identifiers are made by the controller, so that no table
-- counts by itself. Times are microseconds since 1970, 0 is never.

-- +goose Up
CREATE TABLE tenant (
  id      TEXT NOT NULL PRIMARY KEY,
  name    TEXT NOT NULL UNIQUE,
  created INTEGER NOT NULL
) STRICT;

CREATE TABLE meta (
  name  TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;
