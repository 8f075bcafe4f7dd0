-- +goose Up
-- An alias may split its traffic between two versions.
ALTER TABLE alias ADD COLUMN split INTEGER NOT NULL DEFAULT 0;  -- the second version; 0 is none
ALTER TABLE alias ADD COLUMN weight INTEGER NOT NULL DEFAULT 0; -- what it takes, of 10000

-- +goose Down
ALTER TABLE alias DROP COLUMN split;
ALTER TABLE alias DROP COLUMN weight;
