-- +goose Up
-- One row per function version and minute; units as in package usage.
CREATE TABLE usage (
    minute             INTEGER NOT NULL,
    function           INTEGER NOT NULL REFERENCES name (id),
    version            INTEGER NOT NULL,
    ok                 INTEGER NOT NULL,
    failed             INTEGER NOT NULL,
    trapped            INTEGER NOT NULL,
    out_of_fuel        INTEGER NOT NULL,
    out_of_stack       INTEGER NOT NULL,
    out_of_memory      INTEGER NOT NULL,
    timed_out          INTEGER NOT NULL,
    refused            INTEGER NOT NULL,
    fuel               INTEGER NOT NULL,
    duration_nanos     INTEGER NOT NULL,
    memory_byte_millis INTEGER NOT NULL,
    cold_starts        INTEGER NOT NULL,
    bytes_in           INTEGER NOT NULL,
    bytes_out          INTEGER NOT NULL,
    bytes_written      INTEGER NOT NULL,
    PRIMARY KEY (minute, function, version)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE usage;
