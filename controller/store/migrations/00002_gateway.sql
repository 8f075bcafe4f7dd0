-- +goose Up
CREATE TABLE enrolment_token (
  id         TEXT NOT NULL PRIMARY KEY,
  tenant     TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  hash       BLOB NOT NULL UNIQUE, -- SHA-256 of the secret
  uses       INTEGER NOT NULL,
  used       INTEGER NOT NULL,
  labels     TEXT NOT NULL, -- JSON object; its gateways begin with them
  replaces   TEXT NOT NULL, -- the gateway whose place it gives; empty admits new ones
  created    INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires    INTEGER NOT NULL,
  revoked    INTEGER NOT NULL
) STRICT;
CREATE INDEX enrolment_token_of_tenant ON enrolment_token (tenant, id);

CREATE TABLE gateway (
  id          TEXT NOT NULL PRIMARY KEY,
  tenant      TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  name        TEXT NOT NULL,
  labels      TEXT NOT NULL, -- JSON object
  hardware    TEXT NOT NULL,
  arch        TEXT NOT NULL,
  version     TEXT NOT NULL,
  token       TEXT NOT NULL, -- the one it enrolled with last
  serial      TEXT NOT NULL, -- of the newest certificate, in hexadecimal
  expires     INTEGER NOT NULL, -- when that one does
  enrolled    INTEGER NOT NULL,
  renewed     INTEGER NOT NULL,
  revoked     INTEGER NOT NULL,
  UNIQUE (tenant, name)
) STRICT;

-- Every key that ever was a gateway's: a batch of usage that was signed before
-- a renewal comes after it. A key is one gateway's for ever.
CREATE TABLE gateway_key (
  hash       BLOB NOT NULL PRIMARY KEY, -- SHA-256 of public_key
  gateway    TEXT NOT NULL REFERENCES gateway (id) ON DELETE CASCADE,
  public_key BLOB NOT NULL, -- the SubjectPublicKeyInfo: it checks signatures
  since      INTEGER NOT NULL,
  until      INTEGER NOT NULL -- 0 while it is the gateway's; a certificate for it is void after
) STRICT;
CREATE INDEX gateway_key_of_gateway ON gateway_key (gateway, since);
