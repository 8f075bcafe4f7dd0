-- +goose Up
-- MQTT clients with credentials. Filters are JSON arrays.
CREATE TABLE device (
    name      TEXT PRIMARY KEY,
    secret    TEXT NOT NULL,
    publish   TEXT NOT NULL,
    subscribe TEXT NOT NULL,
    created   INTEGER NOT NULL -- milliseconds since the Unix epoch
) WITHOUT ROWID;

-- +goose Down
DROP TABLE device;
