-- How a chord ends although members have not ended, and how many ends are enough.
ALTER TABLE joins ADD COLUMN sent INTEGER;
ALTER TABLE joins ADD COLUMN sealed_at TEXT;
ALTER TABLE joins ADD COLUMN deadline TEXT;
ALTER TABLE joins ADD COLUMN due_at TEXT;
ALTER TABLE joins ADD COLUMN enough INTEGER;
ALTER TABLE joins ADD COLUMN tolerated INTEGER;
ALTER TABLE joins ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE joins ADD COLUMN swept_at TEXT;

CREATE INDEX joins_due_at ON joins (due_at) WHERE fired_at IS NULL AND due_at IS NOT NULL;
CREATE INDEX joins_swept_at ON joins (swept_at) WHERE swept_at IS NOT NULL;
