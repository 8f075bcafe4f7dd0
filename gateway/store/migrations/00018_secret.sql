-- +goose Up
-- What functions must know and nobody else may, encrypted.
CREATE TABLE secret (
    function TEXT NOT NULL,
    name     TEXT NOT NULL,
    key_id   TEXT NOT NULL, -- of the key in the key file
    sealed   BLOB NOT NULL, -- nonce and ciphertext
    updated  INTEGER NOT NULL, -- milliseconds since the Unix epoch
    PRIMARY KEY (function, name)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE secret;
