-- +goose Up
-- Published versions, immutable.
CREATE TABLE function_version (
    function TEXT NOT NULL,
    version  INTEGER NOT NULL,
    created  INTEGER NOT NULL, -- milliseconds since the Unix epoch
    digest   TEXT NOT NULL,
    author   TEXT NOT NULL,
    bundle   BLOB NOT NULL,
    PRIMARY KEY (function, version)
);

-- +goose Down
DROP TABLE function_version;
