-- +goose Up
-- A row belongs to a part: those of one part are closed together, and what comes
-- later for the same minute is another row. 0 is a gateway without a controller.
CREATE TABLE usage_parts (
    minute             INTEGER NOT NULL,
    function           INTEGER NOT NULL REFERENCES name (id),
    version            INTEGER NOT NULL,
    part               INTEGER NOT NULL,
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
    time_estimated     INTEGER NOT NULL,
    time_unknown       INTEGER NOT NULL,
    PRIMARY KEY (minute, function, version, part)
) WITHOUT ROWID;
INSERT INTO usage_parts SELECT minute, function, version, 0, ok, failed, trapped, out_of_fuel, out_of_stack,
    out_of_memory, timed_out, refused, fuel, duration_nanos, memory_byte_millis, cold_starts, bytes_in, bytes_out,
    bytes_written, time_estimated, time_unknown FROM usage;
DROP TABLE usage;
ALTER TABLE usage_parts RENAME TO usage;

-- Where the chain of batches stands: the last batch of the stream, its link, and
-- the last part in it. One row, or none without a controller.
CREATE TABLE usage_chain (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    gateway  TEXT    NOT NULL,
    hardware TEXT    NOT NULL,
    epoch    INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    link     BLOB    NOT NULL,
    part     INTEGER NOT NULL
);

-- Parts that were closed and are in no batch yet: all after the closing before
-- up to this one, whose minutes are first to last.
CREATE TABLE usage_closing (
    part  INTEGER PRIMARY KEY,
    link  BLOB    NOT NULL,
    first INTEGER NOT NULL,
    last  INTEGER NOT NULL,
    rows  INTEGER NOT NULL
);

-- Batches that the controller has not acknowledged.
CREATE TABLE usage_batch (
    hardware TEXT    NOT NULL,
    epoch    INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    gateway  TEXT    NOT NULL,
    prev     BLOB    NOT NULL,
    link     BLOB    NOT NULL,
    data     BLOB    NOT NULL,
    PRIMARY KEY (hardware, epoch, seq)
);

-- +goose Down
DROP TABLE usage_batch;
DROP TABLE usage_closing;
DROP TABLE usage_chain;
CREATE TABLE usage_minutes (
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
    time_estimated     INTEGER NOT NULL,
    time_unknown       INTEGER NOT NULL,
    PRIMARY KEY (minute, function, version)
) WITHOUT ROWID;
INSERT INTO usage_minutes SELECT minute, function, version, sum(ok), sum(failed), sum(trapped), sum(out_of_fuel),
    sum(out_of_stack), sum(out_of_memory), sum(timed_out), sum(refused), sum(fuel), sum(duration_nanos),
    sum(memory_byte_millis), sum(cold_starts), sum(bytes_in), sum(bytes_out), sum(bytes_written),
    sum(time_estimated), sum(time_unknown) FROM usage GROUP BY minute, function, version;
DROP TABLE usage;
ALTER TABLE usage_minutes RENAME TO usage;
