-- +goose Up
-- Gateways whose certificates became good for nothing: whichever replica they
-- are connected with ends that.
CREATE TABLE put_out (
  id      TEXT NOT NULL PRIMARY KEY, -- begins with the time
  gateway TEXT NOT NULL -- it may be deleted by now
) STRICT;

-- +goose Down
DROP TABLE put_out;
