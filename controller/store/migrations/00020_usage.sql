-- +goose Up
-- How far each run of batches has come: every number up to acked is here, or was
-- found to be missing for ever.
CREATE TABLE usage_stream (
  gateway  TEXT NOT NULL REFERENCES gateway (id) ON DELETE CASCADE,
  hardware TEXT NOT NULL,
  epoch    INTEGER NOT NULL,
  acked    INTEGER NOT NULL,
  seen     INTEGER NOT NULL, -- when a batch came last
  PRIMARY KEY (gateway, hardware, epoch)
) STRICT, WITHOUT ROWID;

-- The batches themselves: evidence, and the minutes that sums are made of.
CREATE TABLE usage_batch (
  gateway   TEXT NOT NULL,
  hardware  TEXT NOT NULL,
  epoch     INTEGER NOT NULL,
  seq       INTEGER NOT NULL,
  prev      BLOB NOT NULL,
  link      BLOB NOT NULL,
  signature BLOB NOT NULL,
  data      BLOB NOT NULL,
  verdict   TEXT NOT NULL, -- counted, tampered or fork
  first     INTEGER NOT NULL, -- minutes in it
  last      INTEGER NOT NULL,
  received  INTEGER NOT NULL,
  PRIMARY KEY (gateway, hardware, epoch, seq),
  FOREIGN KEY (gateway, hardware, epoch) REFERENCES usage_stream (gateway, hardware, epoch) ON DELETE CASCADE
) STRICT;
CREATE INDEX usage_batch_minutes ON usage_batch (gateway, last);
CREATE INDEX usage_batch_received ON usage_batch (received);

-- What is billed; units as in package usage. It outlives the gateway.
CREATE TABLE usage_day (
  tenant  TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  day     INTEGER NOT NULL, -- since 1970, UTC
  gateway TEXT NOT NULL,
  fn      TEXT NOT NULL,
  version INTEGER NOT NULL,
  ok                 INTEGER NOT NULL,
  failed             INTEGER NOT NULL,
  trapped            INTEGER NOT NULL,
  out_of_fuel        INTEGER NOT NULL,
  out_of_stack       INTEGER NOT NULL,
  out_of_memory      INTEGER NOT NULL,
  timed_out          INTEGER NOT NULL,
  refused            INTEGER NOT NULL,
  fuel               INTEGER NOT NULL,
  duration_nanos     INTEGER NOT NULL,
  memory_byte_millis INTEGER NOT NULL,
  cold_starts        INTEGER NOT NULL,
  bytes_in           INTEGER NOT NULL,
  bytes_out          INTEGER NOT NULL,
  bytes_written      INTEGER NOT NULL,
  time_estimated     INTEGER NOT NULL,
  time_unknown       INTEGER NOT NULL,
  PRIMARY KEY (tenant, day, gateway, fn, version)
) STRICT, WITHOUT ROWID;

-- What is wrong with the batches of a gateway.
CREATE TABLE usage_finding (
  id       TEXT NOT NULL PRIMARY KEY,
  tenant   TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  gateway  TEXT NOT NULL,
  hardware TEXT NOT NULL,
  epoch    INTEGER NOT NULL,
  seq      INTEGER NOT NULL,
  kind     TEXT NOT NULL, -- gap, fork, tampered or foreign
  detail   TEXT NOT NULL,
  at       INTEGER NOT NULL,
  UNIQUE (gateway, hardware, epoch, seq, kind)
) STRICT;
CREATE INDEX usage_finding_of_tenant ON usage_finding (tenant, id);

-- +goose Down
DROP TABLE usage_finding;
DROP TABLE usage_day;
DROP TABLE usage_batch;
DROP TABLE usage_stream;
