-- What finds automation runs that are old enough to go, and those in a status.

-- The run that this one was started after.
ALTER TABLE automation_runs ADD COLUMN after_run_id {id};
-- The key of such a run is `after:`, the id of the other one, and its epoch.
UPDATE automation_runs SET after_run_id = substr(idempotency_key, 7, 36)
    WHERE trigger_type = 'after' AND idempotency_key LIKE 'after:%';
CREATE INDEX automation_runs_after ON automation_runs (after_run_id) WHERE after_run_id IS NOT NULL;
CREATE INDEX automation_runs_over ON automation_runs (finished_at, id) WHERE finished_at IS NOT NULL;
-- What finds the runs of a company in a status, however rare it is among them.
CREATE INDEX automation_runs_status ON automation_runs (company_id, status, created_at, id);
