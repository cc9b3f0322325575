-- Money (budgets, costs), people (users, members, keys), and what waits for a person (approvals, interactions, inbox).
-- Counters hold micro-dollars or tokens, as the policy's metric says. Issues and projects are named by their ids alone.

ALTER TABLE companies ADD COLUMN pause_reason TEXT CHECK (pause_reason IN ('manual', 'budget', 'system'));
ALTER TABLE companies ADD COLUMN paused_at BIGINT;

CREATE TABLE budget_policies (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    scope_type TEXT NOT NULL CHECK (scope_type IN ('company', 'agent', 'project')),
    scope_id {id} NOT NULL,
    metric TEXT NOT NULL CHECK (metric IN ('billed_cents', 'tokens')),
    window_kind TEXT NOT NULL CHECK (window_kind IN ('calendar_month_utc', 'lifetime')),
    -- Cents or tokens: the unit of the wire.
    amount BIGINT NOT NULL CHECK (amount >= 0),
    warn_percent BIGINT NOT NULL CHECK (warn_percent BETWEEN 1 AND 99),
    hard_stop_enabled BOOLEAN NOT NULL,
    notify_enabled BOOLEAN NOT NULL,
    is_active BOOLEAN NOT NULL,
    created_by_user_id {id},
    updated_by_user_id {id},
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX budget_policies_one ON budget_policies (company_id, scope_type, scope_id, metric, window_kind);
CREATE INDEX budget_policies_by_company ON budget_policies (company_id, created_at, id);

-- What a policy's scope has spent and set aside in one window. Always: spent = outside + what the reservations of this
-- policy and window have charged, and reserved = what they hold.
CREATE TABLE budget_counters (
    policy_id {id} NOT NULL REFERENCES budget_policies (id),
    window_start BIGINT NOT NULL,
    window_end BIGINT NOT NULL,
    -- The policy's amount in the unit of the sums if it stops anybody, else NULL: beside the sums, so that one guarded update sees all of it.
    cap BIGINT,
    spent BIGINT NOT NULL DEFAULT 0 CHECK (spent >= 0),
    -- The part of `spent` that was charged to no reservation: from before the policy, or reported by hand.
    outside BIGINT NOT NULL DEFAULT 0 CHECK (outside >= 0),
    reserved BIGINT NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    warned_at BIGINT,
    stopped_at BIGINT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (policy_id, window_start)
);
CREATE INDEX budget_counters_stopped ON budget_counters (window_end, policy_id) WHERE stopped_at IS NOT NULL;

-- What one run holds and has spent under one policy. A run that lives into the next window has a row in each.
-- No reference to the policy: checking it would lock the row of a policy that every run of a company shares.
CREATE TABLE budget_reservations (
    run_id {id} NOT NULL,
    policy_id {id} NOT NULL,
    window_start BIGINT NOT NULL,
    reserved BIGINT NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    charged BIGINT NOT NULL DEFAULT 0 CHECK (charged >= 0),
    created_at BIGINT NOT NULL,
    released_at BIGINT,
    PRIMARY KEY (run_id, policy_id, window_start)
);
CREATE INDEX budget_reservations_by_policy ON budget_reservations (policy_id, window_start);
CREATE INDEX budget_reservations_held ON budget_reservations (policy_id, window_start, run_id) WHERE reserved > 0;
CREATE INDEX budget_reservations_held_by_run ON budget_reservations (run_id) WHERE reserved > 0;
CREATE INDEX budget_reservations_released ON budget_reservations (released_at, run_id) WHERE released_at IS NOT NULL;

-- Runs that a budget stopped, until their work is taken up again or nobody wants it.
CREATE TABLE budget_stopped_runs (
    run_id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    agent_id {id} NOT NULL,
    scope_type {id} NOT NULL,
    scope_id {id} NOT NULL,
    stopped_at BIGINT NOT NULL
);
CREATE INDEX budget_stopped_runs_by_scope ON budget_stopped_runs (scope_type, scope_id, stopped_at, run_id);

CREATE TABLE budget_incidents (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    policy_id {id} NOT NULL REFERENCES budget_policies (id),
    scope_type TEXT NOT NULL,
    scope_id {id} NOT NULL,
    metric TEXT NOT NULL,
    window_kind TEXT NOT NULL,
    window_start BIGINT NOT NULL,
    window_end BIGINT NOT NULL,
    threshold_type TEXT NOT NULL CHECK (threshold_type IN ('soft', 'hard')),
    amount_limit BIGINT NOT NULL,
    amount_observed BIGINT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'resolved', 'dismissed')),
    approval_id {id},
    resolved_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX budget_incidents_one_open ON budget_incidents (policy_id, window_start, threshold_type)
    WHERE status = 'open';
CREATE INDEX budget_incidents_open ON budget_incidents (company_id, created_at, id) WHERE status = 'open';
CREATE INDEX budget_incidents_by_policy ON budget_incidents (policy_id, window_start);
CREATE INDEX budget_incidents_by_approval ON budget_incidents (approval_id) WHERE approval_id IS NOT NULL;

CREATE TABLE cost_events (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    agent_id {id} NOT NULL,
    issue_id {id},
    project_id {id},
    goal_id {id},
    run_id {id},
    -- `run`: what the settlement of a run wrote; `report`: what somebody reported.
    origin TEXT NOT NULL CHECK (origin IN ('run', 'report')),
    billing_code TEXT,
    provider TEXT NOT NULL,
    biller TEXT NOT NULL,
    billing_type TEXT NOT NULL,
    model TEXT NOT NULL,
    input_tokens BIGINT NOT NULL CHECK (input_tokens >= 0),
    cached_input_tokens BIGINT NOT NULL CHECK (cached_input_tokens >= 0),
    output_tokens BIGINT NOT NULL CHECK (output_tokens >= 0),
    -- How many of them count against budgets in tokens.
    counted_tokens BIGINT NOT NULL CHECK (counted_tokens >= 0),
    cost_micros BIGINT NOT NULL CHECK (cost_micros >= 0),
    cost_known BOOLEAN NOT NULL,
    occurred_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX cost_events_one_of_run ON cost_events (run_id) WHERE origin = 'run';
CREATE INDEX cost_events_by_run ON cost_events (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX cost_events_by_company ON cost_events (company_id, occurred_at);
CREATE INDEX cost_events_by_agent ON cost_events (agent_id, occurred_at, cost_micros);
CREATE INDEX cost_events_by_project ON cost_events (project_id, occurred_at) WHERE project_id IS NOT NULL;

-- The dearest single message of each run: the next runs of its agent reserve as much.
CREATE TABLE run_messages (
    run_id {id} PRIMARY KEY,
    agent_id {id} NOT NULL,
    messages BIGINT NOT NULL,
    dearest_micros BIGINT NOT NULL,
    dearest_tokens BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX run_messages_by_agent ON run_messages (agent_id, created_at, run_id);

CREATE TABLE approvals (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    type TEXT NOT NULL
        CHECK (type IN ('hire_agent', 'approve_ceo_strategy', 'budget_override_required', 'request_board_approval')),
    requested_by_agent_id {id},
    requested_by_user_id {id},
    status TEXT NOT NULL CHECK (status IN ('pending', 'revision_requested', 'approved', 'rejected', 'cancelled')),
    payload TEXT NOT NULL,
    decision_note TEXT,
    decided_by_user_id {id},
    decided_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX approvals_by_company ON approvals (company_id, created_at, id);
CREATE INDEX approvals_by_status ON approvals (company_id, status, created_at, id);

CREATE TABLE approval_comments (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    approval_id {id} NOT NULL REFERENCES approvals (id),
    author_agent_id {id},
    author_user_id {id},
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX approval_comments_by_approval ON approval_comments (approval_id, created_at, id);

CREATE TABLE issue_approvals (
    approval_id {id} NOT NULL REFERENCES approvals (id),
    issue_id {id} NOT NULL,
    company_id {id} NOT NULL,
    linked_by_agent_id {id},
    linked_by_user_id {id},
    created_at BIGINT NOT NULL,
    PRIMARY KEY (approval_id, issue_id)
);
CREATE INDEX issue_approvals_by_issue ON issue_approvals (issue_id, created_at, approval_id);

CREATE TABLE issue_thread_interactions (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    issue_id {id} NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('suggest_tasks', 'ask_user_questions', 'request_confirmation')),
    status TEXT NOT NULL CHECK (status IN ('pending', 'accepted', 'rejected', 'answered', 'expired', 'failed')),
    continuation_policy TEXT NOT NULL
        CHECK (continuation_policy IN ('none', 'wake_assignee', 'wake_assignee_on_accept')),
    idempotency_key TEXT,
    source_comment_id {id},
    source_run_id {id},
    title TEXT,
    summary TEXT,
    created_by_agent_id {id},
    created_by_user_id {id},
    resolved_by_agent_id {id},
    resolved_by_user_id {id},
    payload TEXT NOT NULL,
    result TEXT,
    resolved_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX interactions_one_key ON issue_thread_interactions (issue_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX interactions_by_issue ON issue_thread_interactions (issue_id, created_at, id);
CREATE INDEX interactions_pending ON issue_thread_interactions (issue_id, created_at, id) WHERE status = 'pending';

CREATE TABLE users (
    id {id} PRIMARY KEY,
    name TEXT NOT NULL,
    email {id},
    is_instance_admin BOOLEAN NOT NULL DEFAULT FALSE,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX users_one_email ON users (email) WHERE email IS NOT NULL;
CREATE INDEX users_by_age ON users (created_at, id);
CREATE INDEX users_admins ON users (id) WHERE is_instance_admin;

-- Who belongs to a company: people, and agents that were given rights.
CREATE TABLE memberships (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    principal_type TEXT NOT NULL CHECK (principal_type IN ('user', 'agent')),
    principal_id {id} NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'pending', 'suspended')),
    role TEXT CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX memberships_one ON memberships (company_id, principal_type, principal_id);
CREATE INDEX memberships_by_principal ON memberships (principal_type, principal_id, company_id);
CREATE INDEX memberships_by_age ON memberships (company_id, principal_type, created_at, id);

CREATE TABLE permission_grants (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    principal_type TEXT NOT NULL CHECK (principal_type IN ('user', 'agent')),
    principal_id {id} NOT NULL,
    permission_key TEXT NOT NULL,
    scope TEXT,
    granted_by_user_id {id},
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX permission_grants_one
    ON permission_grants (company_id, principal_type, principal_id, permission_key);

-- Of every key only the SHA-256 of its text is kept.
CREATE TABLE agent_keys (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    agent_id {id} NOT NULL REFERENCES agents (id),
    name TEXT NOT NULL,
    key_hash {id} NOT NULL UNIQUE,
    last_used_at BIGINT,
    revoked_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX agent_keys_by_agent ON agent_keys (agent_id, created_at, id);

CREATE TABLE board_keys (
    id {id} PRIMARY KEY,
    user_id {id} NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    key_hash {id} NOT NULL UNIQUE,
    last_used_at BIGINT,
    revoked_at BIGINT,
    expires_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX board_keys_by_user ON board_keys (user_id, created_at, id);

-- Logins of the command line: the key is made with the challenge and becomes valid when a person approves it.
CREATE TABLE cli_challenges (
    id {id} PRIMARY KEY,
    secret_hash {id} NOT NULL,
    command TEXT NOT NULL,
    client_name TEXT,
    requested_access TEXT NOT NULL CHECK (requested_access IN ('board', 'instance_admin_required')),
    requested_company_id {id},
    pending_key_hash {id} NOT NULL,
    pending_key_name TEXT NOT NULL,
    approved_by_user_id {id},
    board_key_id {id},
    approved_at BIGINT,
    cancelled_at BIGINT,
    expires_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX cli_challenges_by_expiry ON cli_challenges (expires_at, id);

-- What needs a person. One row per thing and cause while it is open.
CREATE TABLE inbox_items (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    kind TEXT NOT NULL,
    entity_type TEXT NOT NULL,
    entity_id {id} NOT NULL,
    cause TEXT NOT NULL,
    title TEXT NOT NULL,
    details TEXT NOT NULL,
    owner_agent_id {id},
    opened_at BIGINT NOT NULL,
    resolved_at BIGINT,
    resolution TEXT
);
CREATE UNIQUE INDEX inbox_items_one_open ON inbox_items (entity_id, kind, cause) WHERE resolved_at IS NULL;
CREATE INDEX inbox_items_open ON inbox_items (company_id, opened_at, id) WHERE resolved_at IS NULL;
CREATE INDEX inbox_items_by_company ON inbox_items (company_id, opened_at, id);
CREATE INDEX inbox_items_resolved ON inbox_items (resolved_at, id) WHERE resolved_at IS NOT NULL;

-- Automatic attempts to set an issue going again, since its last success or the last touch of a person.
CREATE TABLE issue_recoveries (
    issue_id {id} NOT NULL,
    cause TEXT NOT NULL,
    company_id {id} NOT NULL,
    attempts BIGINT NOT NULL CHECK (attempts >= 0),
    last_run_id {id},
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (issue_id, cause)
);

CREATE TABLE instance_settings (
    name {id} PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE agent_config_revisions (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    agent_id {id} NOT NULL,
    created_by_agent_id {id},
    created_by_user_id {id},
    source TEXT NOT NULL,
    rolled_back_from_revision_id {id},
    changed_keys TEXT NOT NULL,
    before_config TEXT NOT NULL,
    after_config TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX agent_config_revisions_by_agent ON agent_config_revisions (agent_id, created_at, id);
