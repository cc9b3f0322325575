-- What the adapter of a run noted about the session it worked in, for the next run that resumes it.
ALTER TABLE runs ADD COLUMN session_note TEXT;

-- The runs of a session, newest first.
CREATE INDEX runs_by_session ON runs (agent_id, session_after, created_at, id) WHERE session_after IS NOT NULL;
