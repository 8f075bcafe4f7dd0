-- +goose Up
-- What each durable MQTT session has to get: seq is the place in its order,
-- and the packet id follows from it.
CREATE TABLE outgoing (
    session   INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    message   INTEGER NOT NULL,
    releasing INTEGER NOT NULL, -- 1 between PUBREC and PUBCOMP
    options   BLOB NOT NULL,    -- in the encoding of mqtt/broker
    PRIMARY KEY (session, seq)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE outgoing;
