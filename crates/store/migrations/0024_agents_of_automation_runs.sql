-- Who each name of an agent stood for when the run was made: by name, the id of the agent, or null where nobody, or not one
-- alone, was called so. NULL: a run of before, whose agents are found by their names.
ALTER TABLE automation_runs ADD COLUMN agent_ids TEXT;
