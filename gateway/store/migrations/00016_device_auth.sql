-- +goose Up
-- How a device shows who it is, and since when it may not; both empty is what
-- was there before: a password, and it may.
ALTER TABLE device ADD COLUMN certificate INTEGER NOT NULL DEFAULT 0; -- 1: a client certificate, no password
ALTER TABLE device ADD COLUMN revoked INTEGER NOT NULL DEFAULT 0; -- milliseconds since the Unix epoch; 0: it is not

-- +goose Down
ALTER TABLE device DROP COLUMN revoked;
ALTER TABLE device DROP COLUMN certificate;
