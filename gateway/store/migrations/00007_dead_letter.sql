-- +goose Up
-- Events that were given up, kept until somebody redrives or drops them.
CREATE TABLE dead_letter (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    function TEXT NOT NULL,
    version  INTEGER NOT NULL,
    key      TEXT NOT NULL,
    attempt  INTEGER NOT NULL,
    arrived  INTEGER NOT NULL, -- milliseconds since the Unix epoch
    died     INTEGER NOT NULL, -- milliseconds since the Unix epoch
    reason   TEXT NOT NULL,
    error    TEXT NOT NULL,
    blocks   INTEGER NOT NULL, -- 1 while the key waits for a redrive
    event    BLOB NOT NULL
);

-- +goose Down
DROP TABLE dead_letter;
