-- +goose Up
-- What buckets hold, under the numbers of their namespaces. The bytes are
-- files that the digest names. modified is in milliseconds of the wall clock,
-- expires of the steady scale; seq orders rows by when they were written,
-- whatever the clock said.
CREATE TABLE object (
    ns       INTEGER NOT NULL,
    key      TEXT NOT NULL,
    digest   TEXT NOT NULL,
    size     INTEGER NOT NULL,
    type     TEXT NOT NULL,
    modified INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    expires  INTEGER,
    PRIMARY KEY (ns, key)
) WITHOUT ROWID;
CREATE INDEX object_digest ON object (digest);
CREATE INDEX object_seq ON object (ns, seq);
CREATE INDEX object_expires ON object (expires) WHERE expires IS NOT NULL;

-- +goose Down
DROP TABLE object;
