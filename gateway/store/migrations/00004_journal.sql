-- +goose Up
-- One row per group commit: its last sequence, and the duplicate records of its
-- events in the encoding of journal.go. The greatest seq is the committed one.
CREATE TABLE journal (
    seq     INTEGER PRIMARY KEY,
    records BLOB NOT NULL
);

-- +goose Down
DROP TABLE journal;
