-- +goose Up
-- The will of a connected client, or one that waits for its delay; empty for
-- none. In the encoding of mqtt/broker.
ALTER TABLE session ADD COLUMN will BLOB NOT NULL DEFAULT x'';

-- +goose Down
ALTER TABLE session DROP COLUMN will;
