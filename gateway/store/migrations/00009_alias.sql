-- +goose Up
-- Movable pointers to versions.
CREATE TABLE alias (
    function TEXT NOT NULL,
    alias    TEXT NOT NULL,
    version  INTEGER NOT NULL,
    updated  INTEGER NOT NULL, -- milliseconds since the Unix epoch
    PRIMARY KEY (function, alias),
    FOREIGN KEY (function, version) REFERENCES function_version (function, version)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE alias;
