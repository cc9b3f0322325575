-- What watches over work: who woke whom, what is shown to people, and where work may have been left.

-- Wakes that agents caused: what the breaker looks back at. People, timers and the program leave it alone.
CREATE INDEX wakes_by_agents ON wakes (company_id, actor_id, requested_at) WHERE actor_kind = 'agent';
CREATE INDEX wakes_among_agents ON wakes (company_id, requested_at, id) WHERE actor_kind = 'agent';

-- Wakes that are held because agents woke each other in a circle.
CREATE INDEX wakes_held_in_circles ON wakes (requested_at, id)
    WHERE status = 'deferred_issue_execution' AND reason = 'wake_loop';

-- Open items of one kind, whosever they are: sweeps look whether they are still true.
CREATE INDEX inbox_items_by_kind ON inbox_items (kind, id) WHERE resolved_at IS NULL;

-- When an agent last succeeded: an account that was refused works again.
CREATE INDEX runs_succeeded ON runs (agent_id, finished_at) WHERE status = 'succeeded';
