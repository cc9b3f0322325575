-- Webhooks: events that are sent to the servers of others, and requests of others that start automations.

-- Who hears of the events of a company. What was read of the event log for it is one number.
CREATE TABLE webhook_endpoints (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id),
    url TEXT NOT NULL,
    -- JSON: the patterns of the events that it hears.
    events TEXT NOT NULL,
    description TEXT,
    is_enabled BOOLEAN NOT NULL,
    disabled_reason TEXT CHECK (disabled_reason IN ('by_person', 'gone', 'failing')),
    disabled_at BIGINT,
    -- Since when no delivery went well.
    failing_since BIGINT,
    event_cursor BIGINT NOT NULL,
    secret_version BIGINT NOT NULL CHECK (secret_version >= 1),
    created_by_user_id {id},
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK (is_enabled = (disabled_reason IS NULL))
);
CREATE INDEX webhook_endpoints_of_company ON webhook_endpoints (company_id, created_at, id);
CREATE INDEX webhook_endpoints_enabled ON webhook_endpoints (id) WHERE is_enabled;

-- One event for one endpoint. Its id is the `webhook-id` of every try.
CREATE TABLE webhook_deliveries (
    id {id} PRIMARY KEY,
    endpoint_id {id} NOT NULL REFERENCES webhook_endpoints (id) ON DELETE CASCADE,
    company_id {id} NOT NULL,
    -- NULL: somebody asked for it by hand, to try the endpoint.
    event_id BIGINT,
    type TEXT NOT NULL,
    payload TEXT NOT NULL,
    happened_at BIGINT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'delivered', 'failed')),
    attempts BIGINT NOT NULL CHECK (attempts >= 0),
    -- Whoever sends it moves this on: if nobody says how that went, it is due again.
    due_at BIGINT,
    lease {id},
    answer_status BIGINT,
    answer TEXT,
    error TEXT,
    took_ms BIGINT,
    tried_at BIGINT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    CHECK ((status = 'pending') = (due_at IS NOT NULL)),
    CHECK ((status = 'pending') = (finished_at IS NULL))
);
CREATE UNIQUE INDEX webhook_deliveries_one_of_event ON webhook_deliveries (endpoint_id, event_id);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, due_at, id) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_newest ON webhook_deliveries (endpoint_id, created_at, id);
CREATE INDEX webhook_deliveries_over ON webhook_deliveries (finished_at, id) WHERE status <> 'pending';

-- Who starts which automation from outside. The token of its address is known by its hash only.
CREATE TABLE webhook_triggers (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id),
    automation_id {id} NOT NULL REFERENCES automations (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    token_hash {id} NOT NULL,
    scheme TEXT NOT NULL CHECK (scheme IN ('standard', 'github', 'shared_secret')),
    secret_header TEXT NOT NULL,
    -- The input of the run that gets what was sent.
    input TEXT NOT NULL,
    -- JSON: the headers that are handed on with it.
    headers TEXT NOT NULL,
    size_limit BIGINT NOT NULL CHECK (size_limit > 0),
    rate_per_minute BIGINT NOT NULL CHECK (rate_per_minute > 0),
    is_enabled BOOLEAN NOT NULL,
    secret_version BIGINT NOT NULL CHECK (secret_version >= 1),
    created_by_user_id {id},
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX webhook_triggers_by_token ON webhook_triggers (token_hash);
CREATE INDEX webhook_triggers_of_company ON webhook_triggers (company_id, created_at, id);
CREATE INDEX webhook_triggers_of_automation ON webhook_triggers (automation_id, created_at, id);

-- What came in, and what became of it.
CREATE TABLE webhook_receipts (
    id {id} PRIMARY KEY,
    trigger_id {id} NOT NULL REFERENCES webhook_triggers (id) ON DELETE CASCADE,
    company_id {id} NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('received', 'accepted', 'rejected', 'duplicate', 'disabled', 'failed')),
    -- Why, in a word.
    reason TEXT,
    -- The id that its sender gave it; NULL where it gave none.
    event_id {id},
    digest {id} NOT NULL,
    size BIGINT NOT NULL,
    content_type TEXT,
    -- As it came. Gone after a while, and never kept of what did not prove its sender.
    body
    -- only: sqlite
      BLOB,
    -- only: postgres
      BYTEA,
    -- only: both
    duplicate_of {id},
    automation_run_id {id},
    received_at BIGINT NOT NULL
);
-- What was taken in: by its id, and by what it said.
CREATE INDEX webhook_receipts_by_event ON webhook_receipts (trigger_id, event_id, received_at)
    WHERE status IN ('received', 'accepted');
CREATE INDEX webhook_receipts_by_digest ON webhook_receipts (trigger_id, digest, received_at)
    WHERE status IN ('received', 'accepted');
CREATE INDEX webhook_receipts_newest ON webhook_receipts (trigger_id, received_at, id);
CREATE INDEX webhook_receipts_oldest ON webhook_receipts (received_at, id);
CREATE INDEX webhook_receipts_with_body ON webhook_receipts (received_at, id) WHERE body IS NOT NULL;

-- What endpoints sign with and triggers check with: sealed, in versions; an old one is good until it expires.
CREATE TABLE webhook_secrets (
    owner_id {id} NOT NULL,
    version BIGINT NOT NULL CHECK (version >= 1),
    company_id {id} NOT NULL,
    -- Which key opens it.
    key_id TEXT NOT NULL,
    -- JSON: how it was sealed, and the sealed bytes.
    material TEXT NOT NULL,
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (owner_id, version)
);
CREATE INDEX webhook_secrets_of_company ON webhook_secrets (company_id);
