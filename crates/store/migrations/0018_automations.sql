-- Automations: definitions that keep their versions, their runs, and what each step of a run came to.

CREATE TABLE automations (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id),
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'paused', 'draft')),
    paused_reason TEXT,
    -- The newest version; the ones before it stay.
    version BIGINT NOT NULL,
    -- The number of its newest run.
    run_counter BIGINT NOT NULL DEFAULT 0,
    created_by TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    removed_at BIGINT
);
CREATE UNIQUE INDEX automations_one_name ON automations (company_id, name) WHERE removed_at IS NULL;

-- A version is written once and never changed.
CREATE TABLE automation_versions (
    automation_id {id} NOT NULL REFERENCES automations (id),
    version BIGINT NOT NULL,
    hash TEXT NOT NULL,
    definition TEXT NOT NULL,
    created_by TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (automation_id, version)
);

-- Which automations begin when a run of another one ends.
CREATE TABLE automation_after (
    automation_id {id} NOT NULL REFERENCES automations (id),
    place BIGINT NOT NULL,
    source_id {id} NOT NULL,
    PRIMARY KEY (automation_id, place)
);
CREATE INDEX automation_after_source ON automation_after (source_id, automation_id);

CREATE TABLE automation_runs (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    automation_id {id} NOT NULL REFERENCES automations (id),
    version BIGINT NOT NULL,
    -- A definition of this run alone, after a repair.
    own_definition TEXT,
    number BIGINT NOT NULL,
    status TEXT NOT NULL CHECK (status IN
        ('queued', 'running', 'pausing', 'paused', 'awaiting_approval', 'completed', 'blocked', 'failed', 'cancelled')),
    trigger_type TEXT NOT NULL,
    trigger_detail TEXT,
    inputs TEXT NOT NULL,
    idempotency_key TEXT,
    body_hash TEXT,
    priority BIGINT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    queued_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    -- Rises when it begins to work; attempts of an earlier one no longer count.
    epoch BIGINT NOT NULL DEFAULT 0,
    -- The server that let it begin.
    server_node TEXT,
    -- The workspace, canonical; held while the run is at work.
    root TEXT,
    held_reason TEXT,
    held_resource TEXT,
    held_until BIGINT,
    not_before BIGINT,
    -- Where it is to stop at, and why; it does when nothing is under way any more.
    stop_to TEXT CHECK (stop_to IN ('paused', 'cancelled', 'failed')),
    stop_asked_at BIGINT,
    stop_drains BOOLEAN NOT NULL DEFAULT FALSE,
    stop_kind TEXT,
    stop_reason TEXT,
    guardrail TEXT,
    stopped_at BIGINT,
    worked_micros BIGINT NOT NULL DEFAULT 0,
    working_since BIGINT,
    tokens BIGINT NOT NULL DEFAULT 0,
    cost_micros BIGINT NOT NULL DEFAULT 0,
    limits TEXT,
    last_failure TEXT,
    detail TEXT,
    resumes BIGINT NOT NULL DEFAULT 0,
    history_seq BIGINT NOT NULL DEFAULT 0,
    -- When it is to be looked at, whatever happens; NULL = never by itself.
    look_at BIGINT,
    -- Up to which entry of the history its status file tells.
    told_seq BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX automation_runs_one_key ON automation_runs (automation_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX automation_runs_of_company ON automation_runs (company_id, created_at, id);
CREATE INDEX automation_runs_of_automation ON automation_runs (automation_id, created_at, id);
CREATE INDEX automation_runs_queued ON automation_runs (priority, queued_at, id) WHERE status = 'queued';
CREATE INDEX automation_runs_at_work ON automation_runs (id) WHERE status IN ('running', 'pausing');
CREATE INDEX automation_runs_open ON automation_runs (automation_id, id)
    WHERE status IN ('queued', 'running', 'pausing', 'paused', 'awaiting_approval');
CREATE INDEX automation_runs_untold ON automation_runs (id) WHERE told_seq < history_seq;
CREATE INDEX automation_runs_look ON automation_runs (look_at, id) WHERE look_at IS NOT NULL;

CREATE TABLE automation_nodes (
    run_id {id} NOT NULL REFERENCES automation_runs (id) ON DELETE CASCADE,
    node_id TEXT NOT NULL,
    place BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('pending', 'running', 'awaiting_approval', 'completed', 'skipped', 'blocked', 'failed')),
    -- The number of its newest attempt, and how many of which kind count.
    attempt BIGINT NOT NULL DEFAULT 0,
    attempts BIGINT NOT NULL DEFAULT 0,
    repairs BIGINT NOT NULL DEFAULT 0,
    lost BIGINT NOT NULL DEFAULT 0,
    reworks BIGINT NOT NULL DEFAULT 0,
    since BIGINT,
    retry_at BIGINT,
    output TEXT,
    reason TEXT,
    feedback TEXT,
    started_at BIGINT,
    finished_at BIGINT,
    PRIMARY KEY (run_id, node_id)
);

CREATE TABLE automation_attempts (
    run_id {id} NOT NULL REFERENCES automation_runs (id) ON DELETE CASCADE,
    node_id TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    company_id {id} NOT NULL,
    epoch BIGINT NOT NULL,
    agent_id {id} NOT NULL,
    agent_run_id {id},
    state TEXT NOT NULL CHECK (state IN ('ordered', 'running', 'ended')),
    -- FALSE: its node was reset; what it comes to means nothing.
    counts BOOLEAN NOT NULL DEFAULT TRUE,
    objective TEXT NOT NULL,
    ordered_at BIGINT NOT NULL,
    deliver_at BIGINT NOT NULL,
    held_reason TEXT,
    started_at BIGINT,
    ended_at BIGINT,
    stopped TEXT CHECK (stopped IN ('timeout', 'interrupted')),
    stop_asked_at BIGINT,
    record TEXT,
    tokens BIGINT NOT NULL DEFAULT 0,
    cost_micros BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, node_id, attempt)
);
CREATE INDEX automation_attempts_ordered ON automation_attempts (deliver_at, run_id) WHERE state = 'ordered';
CREATE INDEX automation_attempts_live ON automation_attempts (run_id, node_id) WHERE state <> 'ended';
CREATE INDEX automation_attempts_of_agent ON automation_attempts (agent_run_id) WHERE agent_run_id IS NOT NULL;

CREATE TABLE automation_gates (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    run_id {id} NOT NULL REFERENCES automation_runs (id) ON DELETE CASCADE,
    node_id TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'decided', 'expired', 'withdrawn')),
    title TEXT NOT NULL,
    instructions TEXT,
    -- Exactly what people are shown, and the digest that a decision must name.
    shown TEXT NOT NULL,
    hash TEXT NOT NULL,
    decisions TEXT NOT NULL,
    rework_targets TEXT NOT NULL,
    approvers TEXT NOT NULL,
    self_approval BOOLEAN NOT NULL,
    started_by TEXT,
    expiry TEXT,
    asked_at BIGINT NOT NULL,
    expires_at BIGINT,
    next_at BIGINT,
    reminded_at BIGINT,
    reminders BIGINT NOT NULL DEFAULT 0,
    reminded_late BOOLEAN NOT NULL DEFAULT FALSE,
    escalated_at BIGINT,
    escalated_to TEXT,
    stale_at BIGINT,
    decision TEXT CHECK (decision IN ('approve', 'rework', 'cancel')),
    reason TEXT,
    targets TEXT,
    decided_at BIGINT,
    decided_by_kind TEXT,
    decided_by TEXT,
    CHECK ((status = 'decided') = (decision IS NOT NULL))
);
CREATE UNIQUE INDEX automation_gates_one ON automation_gates (run_id, node_id) WHERE status = 'pending';
CREATE INDEX automation_gates_of_run ON automation_gates (run_id, asked_at, id);
CREATE INDEX automation_gates_pending ON automation_gates (company_id, asked_at, id) WHERE status = 'pending';
CREATE INDEX automation_gates_due ON automation_gates (next_at, id) WHERE status = 'pending' AND next_at IS NOT NULL;

-- What happened to a run, in order; never changed.
CREATE TABLE automation_history (
    run_id {id} NOT NULL REFERENCES automation_runs (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    event TEXT NOT NULL,
    node_id TEXT,
    reason TEXT,
    stop_kind TEXT,
    metadata TEXT,
    PRIMARY KEY (run_id, seq)
);
