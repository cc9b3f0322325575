-- Wakes of an issue that started nothing, for whoever asks whether the work was asked for since its last run.
CREATE INDEX wakes_without_effect ON wakes (issue_id, requested_at, id)
    WHERE issue_id IS NOT NULL AND run_id IS NULL AND status IN ('skipped', 'failed');

-- What an agent is still to be woken for: it ends with the work of the agent.
CREATE INDEX wake_orders_by_agent ON wake_orders (agent_id, id);

-- Issues of agents that belong to nobody: those that block others go back to whoever made them.
CREATE INDEX issues_orphans ON issues (id) WHERE assignee_agent_id IS NULL AND assignee_user_id IS NULL
    AND created_by_agent_id IS NOT NULL AND status IN ('todo', 'blocked');
