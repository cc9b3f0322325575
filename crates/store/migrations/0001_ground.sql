-- The ground that every other table stands on: the event log and the audit chain.

-- Facts about the store itself.
CREATE TABLE meta (
    key   {id} PRIMARY KEY,
    value {id} NOT NULL
);
-- A number that is added to the ids of events; for all nodes the same.
INSERT INTO meta (key, value) VALUES ('event_base', '0');

-- What happened, in the order in which readers may see it. `events.rs` says how ids are made.
-- only: sqlite
CREATE TABLE events (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    company_id TEXT NOT NULL,
    type       TEXT NOT NULL,
    payload    TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
-- only: postgres
CREATE TABLE events (
    id         BIGINT PRIMARY KEY,
    company_id TEXT COLLATE "C" NOT NULL,
    type       TEXT COLLATE "C" NOT NULL,
    payload    TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
-- only: both
CREATE INDEX events_of_company ON events (company_id, id);

-- Each record's hash covers the one before it. `audit.rs` says how.
CREATE TABLE audit (
    seq        BIGINT PRIMARY KEY,
    at         BIGINT NOT NULL,
    company_id {id},
    actor      {id} NOT NULL,
    action     {id} NOT NULL,
    subject    {id} NOT NULL,
    details    TEXT NOT NULL,
    hash       {id} NOT NULL
);
CREATE TABLE audit_head (
    one  BIGINT PRIMARY KEY CHECK (one = 1),
    seq  BIGINT NOT NULL,
    hash {id} NOT NULL
);
INSERT INTO audit_head (one, seq, hash)
VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
