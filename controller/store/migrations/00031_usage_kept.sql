-- +goose Up
-- Batches up to this number were removed for their age: one that comes again was
-- counted.
ALTER TABLE usage_stream ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE usage_stream DROP COLUMN forgotten;
