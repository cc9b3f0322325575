-- When automations start by themselves, and what became of each moment that was planned.

CREATE TABLE automation_schedules (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id),
    automation_id {id} NOT NULL REFERENCES automations (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- As the definition has it, JSON.
    spec TEXT NOT NULL,
    -- Where the grid of an interval begins.
    anchor_at BIGINT NOT NULL,
    -- The first slot that nobody has dealt with; NULL: it plans nothing.
    next_at BIGINT,
    -- The last one that somebody has.
    last_slot BIGINT,
    paused_at BIGINT,
    -- Its last pause: what was planned then is not made up for.
    rested_from BIGINT,
    rested_to BIGINT,
    -- Its definition has it no more; it goes with its slots, a batch at a time.
    removed_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK (removed_at IS NULL OR next_at IS NULL),
    CHECK ((rested_from IS NULL) = (rested_to IS NULL))
);
CREATE UNIQUE INDEX automation_schedules_one ON automation_schedules (automation_id, name) WHERE removed_at IS NULL;
CREATE INDEX automation_schedules_in_order ON automation_schedules (company_id, created_at, id) WHERE removed_at IS NULL;
CREATE INDEX automation_schedules_of_company ON automation_schedules (company_id);
CREATE INDEX automation_schedules_due ON automation_schedules (next_at, id) WHERE next_at IS NOT NULL;
CREATE INDEX automation_schedules_removed ON automation_schedules (id) WHERE removed_at IS NOT NULL;

-- The key is the claim: of two servers that deal with a slot one writes its row.
CREATE TABLE schedule_slots (
    schedule_id {id} NOT NULL REFERENCES automation_schedules (id) ON DELETE CASCADE,
    slot BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('fired', 'waiting', 'skipped')),
    reason TEXT,
    -- Why no run could be made of it, in words.
    detail TEXT,
    automation_run_id {id},
    -- When it became what it is.
    at BIGINT NOT NULL,
    PRIMARY KEY (schedule_id, slot),
    CHECK ((state = 'skipped') = (reason IS NOT NULL)),
    CHECK ((state = 'fired') = (automation_run_id IS NOT NULL))
);
CREATE INDEX schedule_slots_waiting ON schedule_slots (schedule_id, slot) WHERE state = 'waiting';
CREATE INDEX schedule_slots_by_age ON schedule_slots (at);
