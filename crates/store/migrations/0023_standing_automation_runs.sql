-- Runs of automations that stand until a person does something: those that came to a bad end, and those that are paused
-- and do not go on by themselves.

-- When a person said of how it stands that it needs nobody; NULL when it stands otherwise.
ALTER TABLE automation_runs ADD COLUMN aside_at BIGINT;
-- What is over since before anybody was told of it is no news.
UPDATE automation_runs SET aside_at = finished_at WHERE status IN ('failed', 'blocked');
CREATE INDEX automation_runs_standing ON automation_runs (company_id, COALESCE(finished_at, stopped_at), id)
    WHERE status IN ('failed', 'blocked', 'paused') AND aside_at IS NULL;
