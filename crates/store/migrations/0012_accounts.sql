-- Accounts at providers: logins and keys that agents share, and what keeps runs from starting on them.

CREATE TABLE accounts (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id),
    provider TEXT NOT NULL,
    -- Of the credential, under a key of this installation: the credential itself is stored nowhere.
    fingerprint {id} NOT NULL,
    label TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'parked', 'probing', 'resuming')),
    reason TEXT CHECK (reason IN ('quota', 'login', 'failures', 'person')),
    parked_at BIGINT,
    parked_until BIGINT,
    is_named BOOLEAN NOT NULL DEFAULT FALSE,
    is_released BOOLEAN NOT NULL DEFAULT FALSE,
    is_asked BOOLEAN NOT NULL DEFAULT FALSE,
    -- The one run that tries it.
    probe_run_id {id},
    probe_since BIGINT,
    next_start_at BIGINT,
    resuming_until BIGINT,
    auto_resume BOOLEAN NOT NULL DEFAULT TRUE,
    first_agent_id {id},
    is_shared BOOLEAN NOT NULL DEFAULT FALSE,
    level BIGINT NOT NULL DEFAULT 0,
    refusals TEXT NOT NULL DEFAULT '[]',
    failures TEXT NOT NULL DEFAULT '[]',
    -- When time alone changes something; NULL: nothing is to be looked at.
    due_at BIGINT,
    -- The last reset that the provider named.
    reset_at BIGINT,
    last_error TEXT,
    -- Which files hold the login, on which node, and how they looked from the outside when it was lost.
    login_files TEXT NOT NULL DEFAULT '[]',
    login_node TEXT,
    login_mark TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK ((state = 'probing') = (probe_run_id IS NOT NULL)),
    CHECK ((state IN ('parked', 'probing')) = (reason IS NOT NULL)),
    CHECK ((state = 'resuming') = (next_start_at IS NOT NULL))
);
CREATE UNIQUE INDEX accounts_one ON accounts (fingerprint, company_id);
CREATE INDEX accounts_by_company ON accounts (company_id, created_at, id);
CREATE INDEX accounts_due ON accounts (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX accounts_logged_out ON accounts (login_node, id) WHERE state = 'parked' AND reason = 'login';

-- On which account a run works or worked.
ALTER TABLE runs ADD COLUMN account_id {id};
