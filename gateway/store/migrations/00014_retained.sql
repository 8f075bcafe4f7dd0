-- +goose Up
-- The last retained message of each topic. seq is the sequence of the commit
-- that it came with. The body is in the row: a busy topic changes one page.
CREATE TABLE retained (
    topic TEXT PRIMARY KEY,
    seq   INTEGER NOT NULL,
    body  BLOB NOT NULL -- in the encoding of mqtt/broker
) WITHOUT ROWID;

-- +goose Down
DROP TABLE retained;
