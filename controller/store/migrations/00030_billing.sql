-- +goose Up
-- What a tenant pays from a month on.
CREATE TABLE price_plan (
  tenant  TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  since   TEXT NOT NULL, -- 2026-11
  plan    TEXT NOT NULL, -- JSON, as billing.Plan
  created INTEGER NOT NULL,
  PRIMARY KEY (tenant, since)
) STRICT;

-- What was asked for. An invoice that was issued does not change.
CREATE TABLE invoice (
  tenant   TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  month    TEXT NOT NULL,
  number   INTEGER NOT NULL,
  document TEXT NOT NULL, -- JSON, as billing.Invoice
  issued   INTEGER NOT NULL,
  PRIMARY KEY (tenant, month),
  UNIQUE (tenant, number)
) STRICT;

-- +goose Down
DROP TABLE invoice;
DROP TABLE price_plan;
