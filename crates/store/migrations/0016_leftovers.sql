-- What environments refer to of the secrets of their company; and what a company that was deleted left on disks.

-- Which field of an environment's configuration is kept as a secret: one in use is found, and cannot be removed.
CREATE TABLE environment_secrets (
    environment_id {id} NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    field TEXT NOT NULL,
    secret_id {id} NOT NULL REFERENCES company_secrets (id),
    PRIMARY KEY (environment_id, field)
);
CREATE INDEX environment_secrets_by_secret ON environment_secrets (secret_id, environment_id);

-- Companies that are gone: each node removes what they left below its data folder. A folder that nothing is known of is
-- never taken for a leftover: a store that was put back may know less than the disk holds.
CREATE TABLE removed_companies (
    company_id {id} PRIMARY KEY,
    removed_at BIGINT NOT NULL
);

-- Their worktrees, until the node that they lie on has saved what is in them and removed them.
CREATE TABLE leftover_worktrees (
    workspace_id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    node_id {id} NOT NULL,
    folder TEXT NOT NULL,
    repo_dir TEXT,
    branch_name TEXT,
    look_at BIGINT NOT NULL
);
CREATE INDEX leftover_worktrees_due ON leftover_worktrees (node_id, look_at, workspace_id);

CREATE INDEX workspace_runtime_services_in ON workspace_runtime_services (execution_workspace_id)
    WHERE execution_workspace_id IS NOT NULL;
