-- +goose Up
-- MQTT sessions that outlive their connection. id is new for every epoch, and
-- journal records name it.
CREATE TABLE session (
    id            INTEGER PRIMARY KEY,
    client        TEXT NOT NULL UNIQUE,
    user          TEXT NOT NULL,
    epoch         INTEGER NOT NULL,
    expiry        INTEGER NOT NULL, -- nanoseconds
    disconnected  INTEGER,          -- nanoseconds since the Unix epoch
    subscriptions BLOB NOT NULL
);

-- +goose Down
DROP TABLE session;
