-- +goose Up
-- What a gateway said of itself last.
CREATE TABLE gateway_status (
  gateway TEXT NOT NULL PRIMARY KEY REFERENCES gateway (id) ON DELETE CASCADE,
  hello   INTEGER NOT NULL, -- when it connected last
  session INTEGER NOT NULL, -- the greatest number of its connections
  seen    INTEGER NOT NULL, -- when it spoke last
  version TEXT NOT NULL,
  arch    TEXT NOT NULL,
  skew    INTEGER NOT NULL, -- by how much its clock was ahead then, in microseconds
  trust   INTEGER NOT NULL, -- how far it relied on it: 0 unknown, 1 estimated, 2 synchronised
  health  TEXT NOT NULL -- JSON object
) STRICT;

-- +goose Down
DROP TABLE gateway_status;
