-- +goose Up
-- Messages that durable MQTT sessions wait for, once however many they are. A
-- row goes with the last row of outgoing that names it.
CREATE TABLE message (
    id   INTEGER PRIMARY KEY,
    body BLOB NOT NULL -- in the encoding of mqtt/broker
);

-- +goose Down
DROP TABLE message;
