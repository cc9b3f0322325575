-- Where runs work: execution workspaces, which run works in which, what was done to them, and what came out of runs.
--
-- A lease on a workspace has no end of its own: it is live while its run is running, so it cannot outlive the run, and
-- no crash leaves one behind.

CREATE TABLE execution_workspaces (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    project_id {id} NOT NULL,
    project_workspace_id {id},
    source_issue_id {id},
    mode TEXT NOT NULL CHECK
        (mode IN ('shared_workspace', 'isolated_workspace', 'operator_branch', 'adapter_managed', 'cloud_sandbox')),
    strategy_type TEXT NOT NULL
        CHECK (strategy_type IN ('project_primary', 'git_worktree', 'adapter_managed', 'cloud_sandbox')),
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'idle', 'in_review', 'archived', 'cleanup_failed')),
    cwd TEXT,
    repo_url TEXT,
    base_ref TEXT,
    branch_name {id},
    provider_type TEXT NOT NULL
        CHECK (provider_type IN ('local_fs', 'git_worktree', 'adapter_managed', 'cloud_sandbox')),
    provider_ref TEXT,
    derived_from_execution_workspace_id {id},
    last_used_at BIGINT NOT NULL,
    opened_at BIGINT NOT NULL,
    closed_at BIGINT,
    cleanup_eligible_at BIGINT,
    cleanup_reason TEXT,
    metadata TEXT,
    -- The disk that it lies on: only this node may touch its folder.
    node_id {id} NOT NULL,
    -- Whose work it is for: runs of the same scope find it again.
    scope_key {id} NOT NULL,
    -- The folder that all worktrees of the repository share, and the commit the work began from.
    repo_dir {id},
    base_commit TEXT,
    -- It is being closed: nobody may take it any more.
    closing_at BIGINT,
    -- When the sweep looks at it again, after it could not be closed.
    look_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX execution_workspaces_by_company ON execution_workspaces (company_id, last_used_at, id);
CREATE INDEX execution_workspaces_by_scope ON execution_workspaces (scope_key, opened_at, id) WHERE closed_at IS NULL;
CREATE INDEX execution_workspaces_open ON execution_workspaces (node_id, id) WHERE closed_at IS NULL;
-- Two tasks never get the same branch.
CREATE UNIQUE INDEX execution_workspaces_one_branch ON execution_workspaces (node_id, repo_dir, branch_name)
    WHERE closed_at IS NULL AND repo_dir IS NOT NULL;

CREATE TABLE workspace_leases (
    run_id {id} PRIMARY KEY,
    workspace_id {id} NOT NULL,
    -- Where the run began: the commit, and what was there besides.
    start_commit TEXT,
    start_tree TEXT,
    leased_at BIGINT NOT NULL
);
CREATE INDEX workspace_leases_by_workspace ON workspace_leases (workspace_id, run_id);

CREATE TABLE workspace_operations (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    execution_workspace_id {id},
    run_id {id},
    phase TEXT NOT NULL
        CHECK (phase IN ('worktree_prepare', 'workspace_provision', 'workspace_teardown', 'worktree_cleanup')),
    command TEXT,
    cwd TEXT,
    status TEXT NOT NULL CHECK (status IN ('running', 'succeeded', 'failed', 'skipped')),
    exit_code BIGINT,
    log TEXT,
    log_bytes BIGINT,
    stdout_excerpt TEXT,
    stderr_excerpt TEXT,
    metadata TEXT,
    started_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX workspace_operations_by_workspace ON workspace_operations (execution_workspace_id, started_at, id);
CREATE INDEX workspace_operations_by_run ON workspace_operations (run_id, started_at, id);
CREATE INDEX workspace_operations_by_company ON workspace_operations (company_id);

CREATE TABLE run_outputs (
    run_id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    workspace_id {id} NOT NULL,
    issue_id {id},
    branch TEXT,
    base_commit TEXT,
    head_commit TEXT,
    commits TEXT NOT NULL,
    commit_count BIGINT NOT NULL,
    files TEXT NOT NULL,
    file_count BIGINT NOT NULL,
    insertions BIGINT NOT NULL,
    deletions BIGINT NOT NULL,
    uncommitted TEXT NOT NULL,
    uncommitted_count BIGINT NOT NULL,
    -- Nobody else worked there meanwhile: what is not committed is the run's too.
    is_exclusive BOOLEAN NOT NULL,
    patch TEXT,
    patch_truncated BOOLEAN NOT NULL,
    error TEXT,
    captured_at BIGINT NOT NULL
);
CREATE INDEX run_outputs_by_company ON run_outputs (company_id);
CREATE INDEX run_outputs_by_issue ON run_outputs (issue_id, captured_at) WHERE issue_id IS NOT NULL;

CREATE INDEX issues_by_execution_workspace ON issues (execution_workspace_id) WHERE execution_workspace_id IS NOT NULL;
