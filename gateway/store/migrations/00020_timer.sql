-- +goose Up
-- Durable timers. due and seen are milliseconds since the Unix epoch: of the
-- wall clock for calendars, of the steady scale for intervals; 0 is not yet.
CREATE TABLE timer (
    name        TEXT PRIMARY KEY,
    function    TEXT NOT NULL,
    schedule    TEXT NOT NULL,
    timezone    TEXT NOT NULL,
    missed      TEXT NOT NULL,
    on_estimate INTEGER NOT NULL, -- 1 when it runs on an estimated clock too
    due         INTEGER NOT NULL, -- next firing
    seen        INTEGER NOT NULL  -- when due was computed
) WITHOUT ROWID;

-- +goose Down
DROP TABLE timer;
