-- +goose Up
-- How many attempts of a minute were metered by a clock that was estimated, or
-- not known at all.
ALTER TABLE usage ADD COLUMN time_estimated INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN time_unknown INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE usage DROP COLUMN time_unknown;
ALTER TABLE usage DROP COLUMN time_estimated;
