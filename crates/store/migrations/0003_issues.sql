-- Projects, goals, issues and what hangs on an issue; the outbox of wakes; what runs and wakes know of issues.
--
-- Foreign keys stand only where the row they name is locked by the same transaction before: in PostgreSQL each one takes
-- a share of that row, and one that names an agent, a run, or another issue would take its locks out of order (agent,
-- issue, run). What hangs on one issue goes with it.

CREATE TABLE goals (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id),
    title TEXT NOT NULL,
    description TEXT,
    level TEXT NOT NULL CHECK (level IN ('company', 'team', 'agent', 'task')),
    status TEXT NOT NULL CHECK (status IN ('planned', 'active', 'achieved', 'cancelled')),
    parent_id {id},
    owner_agent_id {id},
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX goals_by_company ON goals (company_id, created_at, id);
CREATE INDEX goals_by_parent ON goals (parent_id) WHERE parent_id IS NOT NULL;

CREATE TABLE projects (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id),
    name TEXT NOT NULL,
    url_key TEXT NOT NULL,
    description TEXT,
    status TEXT NOT NULL CHECK (status IN ('backlog', 'planned', 'in_progress', 'completed', 'cancelled')),
    lead_agent_id {id},
    target_date TEXT,
    color TEXT,
    env TEXT,
    pause_reason TEXT CHECK (pause_reason IN ('manual', 'budget', 'system')),
    paused_at BIGINT,
    execution_workspace_policy TEXT,
    archived_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX projects_by_company ON projects (company_id, created_at, id);
CREATE UNIQUE INDEX projects_one_name ON projects (company_id, url_key);

CREATE TABLE project_goals (
    project_id {id} NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    goal_id {id} NOT NULL REFERENCES goals (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    PRIMARY KEY (project_id, goal_id)
);
CREATE INDEX project_goals_by_goal ON project_goals (goal_id);

CREATE TABLE project_workspaces (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    project_id {id} NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    source_type TEXT NOT NULL CHECK (source_type IN ('local_path', 'git_repo', 'remote_managed', 'non_git_path')),
    cwd TEXT,
    repo_url TEXT,
    repo_ref TEXT,
    default_ref TEXT,
    visibility TEXT NOT NULL CHECK (visibility IN ('default', 'advanced')),
    setup_command TEXT,
    cleanup_command TEXT,
    remote_provider TEXT,
    remote_workspace_ref TEXT,
    shared_workspace_key TEXT,
    metadata TEXT,
    runtime_config TEXT,
    is_primary BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX project_workspaces_by_project ON project_workspaces (project_id, created_at, id);
CREATE UNIQUE INDEX project_workspaces_one_primary ON project_workspaces (project_id) WHERE is_primary;

CREATE TABLE issues (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id),
    project_id {id},
    project_workspace_id {id},
    goal_id {id},
    parent_id {id},
    title TEXT NOT NULL,
    description TEXT,
    status TEXT NOT NULL
        CHECK (status IN ('backlog', 'todo', 'in_progress', 'in_review', 'done', 'blocked', 'cancelled')),
    priority TEXT NOT NULL CHECK (priority IN ('critical', 'high', 'medium', 'low')),
    -- 0 critical to 3 low: what lists are ordered by.
    priority_rank BIGINT NOT NULL CHECK (priority_rank BETWEEN 0 AND 3),
    assignee_agent_id {id},
    assignee_user_id {id},
    checkout_run_id {id},
    -- What clients are shown; it may name a run that is only queued. The lock is in the four columns after it.
    execution_run_id {id},
    -- The execution lock: held by this run in this epoch, and live while that run is running with it.
    lock_run_id {id},
    lock_epoch BIGINT,
    lock_agent_id {id},
    locked_at BIGINT,
    created_by_agent_id {id},
    created_by_user_id {id},
    issue_number BIGINT NOT NULL,
    identifier {id} NOT NULL,
    origin_kind {id} NOT NULL,
    origin_id {id},
    origin_run_id {id},
    origin_fingerprint {id} NOT NULL,
    request_depth BIGINT NOT NULL CHECK (request_depth >= 0),
    billing_code TEXT,
    assignee_adapter_overrides TEXT,
    execution_policy TEXT,
    execution_state TEXT,
    execution_workspace_id {id},
    execution_workspace_preference TEXT,
    execution_workspace_settings TEXT,
    started_at BIGINT,
    completed_at BIGINT,
    cancelled_at BIGINT,
    hidden_at BIGINT,
    -- It has blockers that are not done, and nobody was told yet that they are.
    waits_on_blockers BOOLEAN NOT NULL DEFAULT FALSE,
    -- When a sweep is to look at the issue again; NULL while nothing can have changed.
    check_at BIGINT,
    last_activity_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK ((lock_run_id IS NULL) = (lock_epoch IS NULL) AND (lock_run_id IS NULL) = (lock_agent_id IS NULL)
        AND (lock_run_id IS NULL) = (locked_at IS NULL))
);
CREATE UNIQUE INDEX issues_one_identifier ON issues (identifier);
CREATE INDEX issues_in_order ON issues (company_id, priority_rank, last_activity_at DESC, updated_at DESC, id)
    WHERE hidden_at IS NULL;
-- History is done or cancelled; what is asked for most is neither.
CREATE INDEX issues_open_in_order ON issues (company_id, priority_rank, last_activity_at DESC, updated_at DESC, id)
    WHERE hidden_at IS NULL AND status IN ('backlog', 'todo', 'in_progress', 'in_review', 'blocked');
CREATE INDEX issues_by_status ON issues (company_id, status);
CREATE INDEX issues_by_assignee ON issues (assignee_agent_id, status) WHERE assignee_agent_id IS NOT NULL;
CREATE INDEX issues_by_user ON issues (assignee_user_id, status) WHERE assignee_user_id IS NOT NULL;
CREATE INDEX issues_by_project ON issues (project_id, status) WHERE project_id IS NOT NULL;
CREATE INDEX issues_by_parent ON issues (parent_id, created_at, id) WHERE parent_id IS NOT NULL;
CREATE INDEX issues_by_origin ON issues (company_id, origin_kind, origin_id) WHERE origin_id IS NOT NULL;
CREATE INDEX issues_locked ON issues (lock_run_id) WHERE lock_run_id IS NOT NULL;
CREATE INDEX issues_checked_out ON issues (checkout_run_id) WHERE checkout_run_id IS NOT NULL;
CREATE INDEX issues_waiting ON issues (id) WHERE waits_on_blockers;
CREATE INDEX issues_to_check ON issues (check_at, id) WHERE check_at IS NOT NULL;
-- What can be stranded: work of an agent that should be under way.
CREATE INDEX issues_of_agents ON issues (id)
    WHERE status IN ('todo', 'in_progress') AND assignee_agent_id IS NOT NULL AND assignee_user_id IS NULL;
-- What the graph of blockers is looked at from.
CREATE INDEX issues_stuck ON issues (id) WHERE hidden_at IS NULL AND status IN ('blocked', 'in_review');

-- `blocker_id` blocks `blocked_id`. Both are issues; edges of a removed one go with it, and one that came too late is
-- joined with nothing.
CREATE TABLE issue_relations (
    blocker_id {id} NOT NULL,
    blocked_id {id} NOT NULL,
    company_id {id} NOT NULL,
    created_by_agent_id {id},
    created_by_user_id {id},
    created_at BIGINT NOT NULL,
    PRIMARY KEY (blocker_id, blocked_id),
    CHECK (blocker_id <> blocked_id)
);
CREATE INDEX issue_relations_by_blocked ON issue_relations (blocked_id, blocker_id);

CREATE TABLE issue_comments (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    issue_id {id} NOT NULL REFERENCES issues (id) ON DELETE CASCADE,
    author_agent_id {id},
    author_user_id {id},
    created_by_run_id {id},
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX issue_comments_by_issue ON issue_comments (issue_id, created_at, id);
CREATE INDEX issue_comments_by_run ON issue_comments (created_by_run_id, created_at, id)
    WHERE created_by_run_id IS NOT NULL;

CREATE TABLE documents (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    issue_id {id} NOT NULL REFERENCES issues (id) ON DELETE CASCADE,
    key {id} NOT NULL,
    title TEXT,
    format TEXT NOT NULL,
    body TEXT NOT NULL,
    latest_revision_id {id} NOT NULL,
    latest_revision_number BIGINT NOT NULL,
    created_by_agent_id {id},
    created_by_user_id {id},
    updated_by_agent_id {id},
    updated_by_user_id {id},
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX documents_one_key ON documents (issue_id, key);

CREATE TABLE document_revisions (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    document_id {id} NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    issue_id {id} NOT NULL,
    key {id} NOT NULL,
    revision_number BIGINT NOT NULL,
    title TEXT,
    format TEXT NOT NULL,
    body TEXT NOT NULL,
    change_summary TEXT,
    created_by_agent_id {id},
    created_by_user_id {id},
    created_by_run_id {id},
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX document_revisions_one_number ON document_revisions (document_id, revision_number);
CREATE INDEX document_revisions_by_run ON document_revisions (created_by_run_id) WHERE created_by_run_id IS NOT NULL;

CREATE TABLE work_products (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    project_id {id},
    issue_id {id} NOT NULL REFERENCES issues (id) ON DELETE CASCADE,
    execution_workspace_id {id},
    runtime_service_id {id},
    type {id} NOT NULL CHECK (type IN ('preview_url', 'runtime_service', 'pull_request', 'branch', 'commit', 'artifact',
        'document')),
    provider TEXT NOT NULL,
    external_id TEXT,
    title TEXT NOT NULL,
    url TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'ready_for_review', 'approved', 'changes_requested', 'merged',
        'closed', 'failed', 'archived', 'draft')),
    review_state TEXT NOT NULL CHECK (review_state IN ('none', 'needs_board_review', 'approved', 'changes_requested')),
    is_primary BOOLEAN NOT NULL,
    health_status TEXT NOT NULL CHECK (health_status IN ('unknown', 'healthy', 'unhealthy')),
    summary TEXT,
    metadata TEXT,
    created_by_run_id {id},
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX work_products_by_issue ON work_products (issue_id, created_at, id);
CREATE UNIQUE INDEX work_products_one_primary ON work_products (issue_id, type) WHERE is_primary;
CREATE INDEX work_products_by_run ON work_products (created_by_run_id) WHERE created_by_run_id IS NOT NULL;

CREATE TABLE labels (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id),
    name {id} NOT NULL,
    color TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX labels_one_name ON labels (company_id, name);

CREATE TABLE issue_labels (
    issue_id {id} NOT NULL REFERENCES issues (id) ON DELETE CASCADE,
    label_id {id} NOT NULL REFERENCES labels (id) ON DELETE CASCADE,
    PRIMARY KEY (issue_id, label_id)
);
CREATE INDEX issue_labels_by_label ON issue_labels (label_id, issue_id);

-- What is known of a file; its bytes lie in the data folder.
CREATE TABLE attachments (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    issue_id {id} NOT NULL REFERENCES issues (id) ON DELETE CASCADE,
    issue_comment_id {id},
    asset_id {id} NOT NULL,
    provider TEXT NOT NULL,
    object_key TEXT NOT NULL,
    content_type TEXT NOT NULL,
    byte_size BIGINT NOT NULL CHECK (byte_size >= 0),
    sha256 TEXT NOT NULL,
    original_filename TEXT,
    created_by_agent_id {id},
    created_by_user_id {id},
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX attachments_by_issue ON attachments (issue_id, created_at, id);

-- How far a person has read an issue, and whether it was put out of the way.
CREATE TABLE issue_read_states (
    issue_id {id} NOT NULL REFERENCES issues (id) ON DELETE CASCADE,
    user_id {id} NOT NULL,
    company_id {id} NOT NULL,
    last_read_at BIGINT,
    archived_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (issue_id, user_id)
);
CREATE INDEX issue_read_states_by_user ON issue_read_states (user_id, issue_id);

-- Wakes that a change ordered in its own transaction, until they are delivered. `orders.rs` says who may touch a row.
CREATE TABLE wake_orders (
    id {serial},
    company_id {id} NOT NULL,
    agent_id {id} NOT NULL,
    issue_id {id},
    -- A deferred wake that is to be promoted.
    wake_id {id},
    source TEXT NOT NULL,
    trigger_detail TEXT,
    reason {id} NOT NULL,
    payload TEXT NOT NULL,
    context TEXT NOT NULL,
    actor_kind {id} NOT NULL,
    -- '' for nobody in particular: NULL would not be equal to itself in the index.
    actor_id {id} NOT NULL,
    idempotency_key TEXT,
    attempts BIGINT NOT NULL DEFAULT 0,
    last_error TEXT,
    deliver_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX wake_orders_due ON wake_orders (deliver_at, id);
CREATE UNIQUE INDEX wake_orders_one_open ON wake_orders (agent_id, issue_id, reason, actor_kind, actor_id)
    WHERE issue_id IS NOT NULL AND wake_id IS NULL;
CREATE UNIQUE INDEX wake_orders_one_promotion ON wake_orders (wake_id) WHERE wake_id IS NOT NULL;
CREATE INDEX wake_orders_by_issue ON wake_orders (issue_id) WHERE issue_id IS NOT NULL;

CREATE TABLE issue_tree_holds (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    root_issue_id {id} NOT NULL REFERENCES issues (id) ON DELETE CASCADE,
    mode {id} NOT NULL CHECK (mode IN ('pause', 'resume', 'cancel', 'restore')),
    status {id} NOT NULL CHECK (status IN ('active', 'released')),
    reason TEXT,
    release_policy TEXT,
    metadata TEXT,
    created_by_actor_type TEXT NOT NULL,
    created_by_agent_id {id},
    created_by_user_id {id},
    created_by_run_id {id},
    released_at BIGINT,
    released_by_actor_type TEXT,
    released_by_agent_id {id},
    released_by_user_id {id},
    released_by_run_id {id},
    release_reason TEXT,
    release_metadata TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX issue_tree_holds_by_root ON issue_tree_holds (root_issue_id, created_at, id);
CREATE INDEX issue_tree_holds_active ON issue_tree_holds (root_issue_id, mode, created_at, id) WHERE status = 'active';

CREATE TABLE issue_tree_hold_members (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    hold_id {id} NOT NULL REFERENCES issue_tree_holds (id) ON DELETE CASCADE,
    -- Not a reference: the member's row may be locked by somebody else.
    issue_id {id} NOT NULL,
    parent_issue_id {id},
    depth BIGINT NOT NULL,
    issue_identifier TEXT,
    issue_title TEXT NOT NULL,
    issue_status TEXT NOT NULL,
    assignee_agent_id {id},
    assignee_user_id {id},
    active_run_id {id},
    active_run_status TEXT,
    skipped BOOLEAN NOT NULL,
    skip_reason TEXT,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX issue_tree_hold_members_one ON issue_tree_hold_members (hold_id, issue_id);
CREATE INDEX issue_tree_hold_members_by_issue ON issue_tree_hold_members (issue_id);

CREATE TABLE activity_log (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    actor_type TEXT NOT NULL,
    actor_id {id} NOT NULL,
    action {id} NOT NULL,
    entity_type {id} NOT NULL,
    entity_id {id} NOT NULL,
    agent_id {id},
    run_id {id},
    details TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX activity_by_company ON activity_log (company_id, created_at, id);
CREATE INDEX activity_by_entity ON activity_log (entity_id, entity_type, created_at, id);
CREATE INDEX activity_by_agent ON activity_log (agent_id, created_at, id) WHERE agent_id IS NOT NULL;
CREATE INDEX activity_by_run ON activity_log (run_id, created_at, id) WHERE run_id IS NOT NULL;

-- What a wake and a run know of issues. Runs without one pay for none of these indexes.
ALTER TABLE wakes ADD COLUMN issue_id {id};
CREATE UNIQUE INDEX wakes_one_deferred ON wakes (agent_id, issue_id) WHERE status = 'deferred_issue_execution';
CREATE INDEX wakes_deferred ON wakes (issue_id, requested_at, id) WHERE status = 'deferred_issue_execution';
CREATE INDEX wakes_without_run ON wakes (agent_id, requested_at, id) WHERE run_id IS NULL AND status = 'queued';

ALTER TABLE runs ADD COLUMN project_id {id};
ALTER TABLE runs ADD COLUMN external_run_id TEXT;
ALTER TABLE runs ADD COLUMN issue_comment_status TEXT NOT NULL DEFAULT 'not_applicable';
ALTER TABLE runs ADD COLUMN issue_comment_satisfied_by_comment_id {id};
ALTER TABLE runs ADD COLUMN issue_comment_retry_queued_at BIGINT;
ALTER TABLE runs ADD COLUMN liveness_state TEXT;
ALTER TABLE runs ADD COLUMN liveness_reason TEXT;
ALTER TABLE runs ADD COLUMN next_action TEXT;
ALTER TABLE runs ADD COLUMN continuation_attempt BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN last_useful_action_at BIGINT;
-- Output, processor time or input and output of the process tree: what silence is counted from.
ALTER TABLE runs ADD COLUMN last_activity_at BIGINT;
ALTER TABLE runs ADD COLUMN silence_level TEXT NOT NULL DEFAULT 'ok';
ALTER TABLE runs ADD COLUMN snoozed_until BIGINT;
ALTER TABLE runs ADD COLUMN no_progress_count BIGINT NOT NULL DEFAULT 0;
-- The SHA-256 of the token of the run's process, and the epoch that it was made for.
ALTER TABLE runs ADD COLUMN token_hash {id};
ALTER TABLE runs ADD COLUMN token_epoch BIGINT;
CREATE UNIQUE INDEX runs_one_token ON runs (token_hash) WHERE token_hash IS NOT NULL;
CREATE INDEX runs_by_issue ON runs (issue_id, created_at, id) WHERE issue_id IS NOT NULL;
CREATE INDEX runs_live_by_issue ON runs (issue_id, status, created_at)
    WHERE issue_id IS NOT NULL AND status IN ('queued', 'scheduled_retry', 'running');
