-- +goose Up
-- The functions' state. expires is in milliseconds since the Unix epoch.
CREATE TABLE kv (
    ns      INTEGER NOT NULL,
    key     TEXT NOT NULL,
    value   BLOB NOT NULL,
    expires INTEGER,
    PRIMARY KEY (ns, key)
) WITHOUT ROWID;
CREATE INDEX kv_expires ON kv (expires) WHERE expires IS NOT NULL;

-- +goose Down
DROP TABLE kv;
