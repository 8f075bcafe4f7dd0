-- +goose Up
-- Tokens of the admin API, as hashes. Times are milliseconds since the Unix
-- epoch, 0 for never.
CREATE TABLE token (
    name      TEXT PRIMARY KEY,
    hash      BLOB NOT NULL, -- SHA-256 of 256 random bits
    scopes    TEXT NOT NULL, -- a JSON array
    created   INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    last_used INTEGER NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE token;
