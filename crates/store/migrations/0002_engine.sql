-- Companies, agents, wakes, runs and their events. Times are microseconds UTC, JSON is text that no query looks into.

CREATE TABLE companies (
    id {id} PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'paused', 'archived')),
    issue_prefix TEXT NOT NULL UNIQUE,
    issue_counter BIGINT NOT NULL DEFAULT 0,
    budget_monthly_cents BIGINT NOT NULL DEFAULT 0,
    require_approval BOOLEAN NOT NULL DEFAULT FALSE,
    brand_color TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE agents (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id),
    name TEXT NOT NULL,
    url_key TEXT NOT NULL,
    role TEXT NOT NULL,
    title TEXT,
    icon TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'paused', 'idle', 'running', 'error', 'pending_approval', 'terminated')),
    reports_to {id} REFERENCES agents (id),
    capabilities TEXT,
    adapter_type TEXT NOT NULL,
    adapter_config TEXT NOT NULL,
    runtime_config TEXT NOT NULL,
    budget_monthly_cents BIGINT NOT NULL DEFAULT 0,
    pause_reason TEXT CHECK (pause_reason IN ('manual', 'budget', 'system')),
    paused_at BIGINT,
    permissions TEXT NOT NULL,
    metadata TEXT,
    last_heartbeat_at BIGINT,
    -- When the timer is due; NULL for agents without one. Derived from runtime_config, kept for the index.
    next_timer_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX agents_by_company ON agents (company_id, created_at, id);
CREATE UNIQUE INDEX agents_one_name ON agents (company_id, url_key) WHERE status <> 'terminated';
CREATE INDEX agents_due ON agents (next_timer_at, id) WHERE next_timer_at IS NOT NULL;

-- One row for each start of a server. Its number only rises: the holder of a lease, and the fence of its keepers.
CREATE TABLE incarnations (
    id {serial},
    node_id TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    version TEXT NOT NULL,
    started_at BIGINT NOT NULL
);

CREATE TABLE wakes (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    agent_id {id} NOT NULL REFERENCES agents (id),
    source TEXT NOT NULL,
    trigger_detail TEXT,
    reason TEXT,
    payload TEXT NOT NULL,
    status TEXT NOT NULL,
    coalesced_count BIGINT NOT NULL DEFAULT 0,
    actor_kind TEXT NOT NULL,
    actor_id TEXT,
    idempotency_key TEXT,
    body_hash TEXT,
    run_id {id},
    requested_at BIGINT NOT NULL,
    claimed_at BIGINT,
    finished_at BIGINT,
    error TEXT
);
CREATE UNIQUE INDEX wakes_one_key ON wakes (company_id, agent_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX wakes_by_run ON wakes (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX wakes_by_agent ON wakes (agent_id, requested_at, id);
CREATE INDEX wakes_finished ON wakes (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE runs (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    agent_id {id} NOT NULL REFERENCES agents (id),
    invocation_source TEXT NOT NULL,
    trigger_detail TEXT,
    status TEXT NOT NULL
        CHECK (status IN ('queued', 'scheduled_retry', 'running', 'succeeded', 'failed', 'cancelled', 'timed_out')),
    -- '' is the scope of wakes without a task key.
    task_key TEXT NOT NULL DEFAULT '',
    issue_id {id},
    wake_id {id} NOT NULL,
    context TEXT NOT NULL,
    retry_of_run_id {id},
    process_loss_retries BIGINT NOT NULL DEFAULT 0,
    retry_at BIGINT,
    retry_attempt BIGINT NOT NULL DEFAULT 0,
    retry_reason TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    -- Who may write for the running attempt: the epoch rises when a process may start, the holder is a server's incarnation.
    lease_epoch BIGINT NOT NULL DEFAULT 0,
    lease_holder BIGINT,
    node_id TEXT,
    boot_id TEXT,
    fresh_start_used BOOLEAN NOT NULL DEFAULT FALSE,
    stop_asked_at BIGINT,
    stop_words TEXT,
    error TEXT,
    error_code TEXT,
    exit_code BIGINT,
    signal TEXT,
    usage TEXT,
    result TEXT,
    session_before TEXT,
    session_after TEXT,
    process_pid BIGINT,
    process_group_id BIGINT,
    process_started_at BIGINT,
    -- Everything derived from the log is written together with this offset.
    log_offset BIGINT NOT NULL DEFAULT 0,
    log_bytes BIGINT,
    log_sha256 TEXT,
    log_state TEXT NOT NULL DEFAULT 'none' CHECK (log_state IN ('none', 'folder', 'archived', 'removed')),
    last_output_at BIGINT,
    last_output_seq BIGINT NOT NULL DEFAULT 0,
    last_output_stream TEXT,
    last_output_bytes BIGINT,
    stdout_excerpt TEXT,
    stderr_excerpt TEXT,
    event_seq BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX runs_by_company ON runs (company_id, created_at, id);
CREATE INDEX runs_by_agent ON runs (agent_id, created_at, id);
CREATE INDEX runs_live ON runs (agent_id, status, created_at) WHERE status IN ('queued', 'scheduled_retry', 'running');
CREATE INDEX runs_live_by_company ON runs (company_id, created_at) WHERE status IN ('queued', 'scheduled_retry', 'running');
-- At most one run of an agent and task is under way, and at most one waits behind it.
CREATE UNIQUE INDEX runs_one_running ON runs (agent_id, task_key) WHERE status = 'running';
CREATE UNIQUE INDEX runs_one_waiting ON runs (agent_id, task_key) WHERE status IN ('queued', 'scheduled_retry');
CREATE INDEX runs_held ON runs (node_id, lease_holder) WHERE status = 'running';
CREATE INDEX runs_due ON runs (retry_at) WHERE status = 'scheduled_retry';
CREATE INDEX runs_finished ON runs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX runs_to_archive ON runs (finished_at, id) WHERE log_state = 'folder' AND finished_at IS NOT NULL;

CREATE TABLE run_events (
    id {serial},
    company_id {id} NOT NULL,
    run_id {id} NOT NULL,
    agent_id {id} NOT NULL,
    seq BIGINT NOT NULL,
    event_type TEXT NOT NULL,
    stream TEXT,
    level TEXT,
    message TEXT,
    payload TEXT,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX run_events_one_seq ON run_events (run_id, seq);

CREATE TABLE runtime_states (
    agent_id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    adapter_type TEXT NOT NULL,
    session_id TEXT,
    state TEXT NOT NULL,
    last_run_id {id},
    last_run_status TEXT,
    last_error TEXT,
    input_tokens BIGINT NOT NULL DEFAULT 0,
    cached_input_tokens BIGINT NOT NULL DEFAULT 0,
    output_tokens BIGINT NOT NULL DEFAULT 0,
    cost_micros BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE task_sessions (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    agent_id {id} NOT NULL,
    adapter_type TEXT NOT NULL,
    task_key TEXT NOT NULL,
    session_id TEXT NOT NULL,
    last_run_id {id},
    last_error TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX task_sessions_one ON task_sessions (agent_id, adapter_type, task_key);
