-- +goose Up
-- Functions and state namespaces by number, so that rows stay small. A number
-- is never given to another name.
CREATE TABLE name (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- +goose Down
DROP TABLE name;
