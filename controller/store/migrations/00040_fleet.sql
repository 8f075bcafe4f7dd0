-- +goose Up
-- How often what a tenant wants of its gateways has changed, and up to which of
-- these changes the desired state of every gateway was made.
CREATE TABLE fleet (
  tenant   TEXT NOT NULL PRIMARY KEY REFERENCES tenant (id) ON DELETE CASCADE,
  revision INTEGER NOT NULL,
  made     INTEGER NOT NULL,
  busy     INTEGER NOT NULL -- until when one replica makes them
) STRICT;

CREATE TABLE deployment (
  id         TEXT NOT NULL PRIMARY KEY, -- begins with the time: the newest is the greatest
  tenant     TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  fn         TEXT NOT NULL, -- a function, or system
  targets    TEXT NOT NULL, -- JSON array
  selector   TEXT NOT NULL,
  strategy   TEXT NOT NULL, -- JSON, as api.Strategy
  state      TEXT NOT NULL,
  reason     TEXT NOT NULL,
  created    INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  ended      INTEGER NOT NULL,
  wave       INTEGER NOT NULL, -- 0 before the first
  waves      INTEGER NOT NULL,
  wave_began INTEGER NOT NULL,
  chosen     INTEGER NOT NULL, -- gateways, when they were counted last
  covered    INTEGER NOT NULL -- 1 where one that is done lies on all of it: it never counts again
) STRICT;
CREATE INDEX deployment_counting ON deployment (tenant, id) WHERE covered = 0;
CREATE INDEX deployment_of_tenant ON deployment (tenant, id);
CREATE INDEX deployment_open ON deployment (id) WHERE state IN ('running', 'paused');

-- The gateways that a deployment has reached, and what they said of it since.
CREATE TABLE deployment_gateway (
  deployment TEXT NOT NULL REFERENCES deployment (id) ON DELETE CASCADE,
  gateway    TEXT NOT NULL REFERENCES gateway (id) ON DELETE CASCADE,
  wave       INTEGER NOT NULL,
  reached    INTEGER NOT NULL,
  state      TEXT NOT NULL, -- pending, live or unhealthy
  note       TEXT NOT NULL,
  changed    INTEGER NOT NULL, -- when state did
  old_invocations INTEGER NOT NULL,
  old_failures    INTEGER NOT NULL,
  old_crashes     INTEGER NOT NULL,
  old_busy        INTEGER NOT NULL,
  new_invocations INTEGER NOT NULL,
  new_failures    INTEGER NOT NULL,
  new_crashes     INTEGER NOT NULL,
  new_busy        INTEGER NOT NULL,
  run        INTEGER NOT NULL, -- of the gateway's process
  run_faults INTEGER NOT NULL, -- of actuators in that run
  faults     INTEGER NOT NULL, -- since it was reached
  PRIMARY KEY (deployment, gateway)
) STRICT, WITHOUT ROWID;
CREATE INDEX deployment_of_gateway ON deployment_gateway (gateway, deployment);

CREATE TABLE deployment_step (
  id         TEXT NOT NULL PRIMARY KEY, -- begins with the time
  deployment TEXT NOT NULL REFERENCES deployment (id) ON DELETE CASCADE,
  at         INTEGER NOT NULL,
  wave       INTEGER NOT NULL,
  note       TEXT NOT NULL
) STRICT;
CREATE INDEX deployment_step_of ON deployment_step (deployment, id);

-- Configuration that is set at one place: everywhere, for a selector, or for a
-- gateway.
CREATE TABLE config_layer (
  id         TEXT NOT NULL PRIMARY KEY,
  tenant     TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  fn         TEXT NOT NULL,
  selector   TEXT NOT NULL,
  gateway    TEXT NOT NULL, -- its ID, or empty
  settings   TEXT NOT NULL, -- JSON: key to its value and the change that set it
  changed    INTEGER NOT NULL,
  changed_by TEXT NOT NULL,
  UNIQUE (tenant, fn, selector, gateway)
) STRICT;

CREATE TABLE config_change (
  id         TEXT NOT NULL PRIMARY KEY, -- begins with the time: the later wins
  tenant     TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  fn         TEXT NOT NULL,
  selector   TEXT NOT NULL,
  gateway    TEXT NOT NULL,
  before     TEXT NOT NULL, -- JSON: what the keys that were changed had; null is nothing
  after      TEXT NOT NULL,
  at         INTEGER NOT NULL,
  changed_by TEXT NOT NULL,
  reverts    TEXT NOT NULL -- the change that it takes back, or empty
) STRICT;
CREATE INDEX config_change_of_tenant ON config_change (tenant, id);

CREATE TABLE sealed_secret (
  gateway    TEXT NOT NULL REFERENCES gateway (id) ON DELETE CASCADE,
  fn         TEXT NOT NULL,
  name       TEXT NOT NULL,
  revision   INTEGER NOT NULL,
  sealed     BLOB NOT NULL, -- empty for one that was removed
  key        BLOB NOT NULL, -- SHA-256 of the gateway's key then
  changed    INTEGER NOT NULL,
  changed_by TEXT NOT NULL,
  PRIMARY KEY (gateway, fn, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE desired (
  gateway  TEXT NOT NULL PRIMARY KEY REFERENCES gateway (id) ON DELETE CASCADE,
  revision INTEGER NOT NULL,
  document BLOB NOT NULL, -- CBOR, as wire.Desired
  fleet    INTEGER NOT NULL, -- the revision of the fleet that it was made of; 0 wants it made anew
  touched  INTEGER NOT NULL, -- how often something of this gateway alone has changed
  follows  INTEGER NOT NULL, -- the revision that the gateway knows of
  pushed   INTEGER NOT NULL, -- when it was sent last
  error    TEXT NOT NULL -- why it could not be made anew
) STRICT;
CREATE INDEX desired_stale ON desired (gateway) WHERE fleet = 0;
CREATE INDEX desired_behind ON desired (pushed) WHERE follows < revision;

CREATE INDEX gateway_of_tenant ON gateway (tenant, id);

CREATE TABLE reported (
  gateway    TEXT NOT NULL PRIMARY KEY REFERENCES gateway (id) ON DELETE CASCADE,
  at         INTEGER NOT NULL,
  run        INTEGER NOT NULL, -- of its process
  run_before INTEGER NOT NULL,
  seq        INTEGER NOT NULL, -- within the run
  document   BLOB NOT NULL -- CBOR, as wire.Reported
) STRICT;

CREATE TABLE question (
  id       TEXT NOT NULL PRIMARY KEY, -- begins with the time
  gateway  TEXT NOT NULL REFERENCES gateway (id) ON DELETE CASCADE,
  what     TEXT NOT NULL,
  fn       TEXT NOT NULL,
  lines    INTEGER NOT NULL,
  asked    INTEGER NOT NULL,
  asked_by TEXT NOT NULL,
  expires  INTEGER NOT NULL,
  answered INTEGER NOT NULL,
  answer   BLOB NOT NULL, -- JSON, compressed
  error    TEXT NOT NULL,
  cut      INTEGER NOT NULL
) STRICT;
CREATE INDEX question_of_gateway ON question (gateway, id);

CREATE TABLE telemetry (
  gateway    TEXT NOT NULL REFERENCES gateway (id) ON DELETE CASCADE,
  topic      TEXT NOT NULL,
  at         INTEGER NOT NULL, -- by the gateway's clock
  received   INTEGER NOT NULL,
  run        INTEGER NOT NULL,
  run_before INTEGER NOT NULL,
  seq        INTEGER NOT NULL,
  count      INTEGER NOT NULL,
  payload    BLOB NOT NULL,
  PRIMARY KEY (gateway, topic)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE telemetry;
DROP TABLE question;
DROP TABLE reported;
DROP INDEX gateway_of_tenant;
DROP TABLE desired;
DROP TABLE sealed_secret;
DROP TABLE config_change;
DROP TABLE config_layer;
DROP TABLE deployment_step;
DROP TABLE deployment_gateway;
DROP TABLE deployment;
DROP TABLE fleet;
