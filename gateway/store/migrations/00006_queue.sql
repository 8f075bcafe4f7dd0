-- +goose Up
-- Durable events that wait. id is the number of the function, shifted left by
-- 40, plus a number that grows in the order of arrival.
CREATE TABLE queue (
    id      INTEGER PRIMARY KEY,
    key     TEXT NOT NULL,
    due     INTEGER NOT NULL, -- milliseconds since the Unix epoch; 0 is at once
    attempt INTEGER NOT NULL, -- attempts made so far
    arrived INTEGER NOT NULL, -- milliseconds since the Unix epoch
    error   TEXT,             -- of the last attempt
    event   BLOB NOT NULL     -- in the encoding of codec.go
);

-- +goose Down
DROP TABLE queue;
