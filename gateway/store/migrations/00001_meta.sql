-- +goose Up
-- Facts about the gateway itself: its id, boot and epoch counters.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE meta;
