-- Values that agents need and nobody is to read: only sealed, in versions that never change.

CREATE TABLE company_secrets (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id),
    name TEXT NOT NULL,
    provider TEXT NOT NULL CHECK (provider IN ('local_encrypted', 'aws_secrets_manager', 'gcp_secret_manager', 'vault')),
    external_ref TEXT,
    latest_version BIGINT NOT NULL CHECK (latest_version >= 1),
    description TEXT,
    created_by_agent_id {id},
    created_by_user_id {id},
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX company_secrets_by_name ON company_secrets (company_id, name);
CREATE INDEX company_secrets_newest ON company_secrets (company_id, created_at, id);

CREATE TABLE company_secret_versions (
    secret_id {id} NOT NULL REFERENCES company_secrets (id) ON DELETE CASCADE,
    version BIGINT NOT NULL CHECK (version >= 1),
    -- Which key opens it: a node that holds another one says so instead of guessing.
    key_id TEXT NOT NULL,
    -- JSON: how it was sealed, and the sealed bytes.
    material TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (secret_id, version)
);

-- Which variable of which agent or project takes its value from a secret: what configurations say, kept beside them so
-- that a secret in use is found, and cannot be removed.
CREATE TABLE secret_references (
    owner_kind TEXT NOT NULL CHECK (owner_kind IN ('agent', 'project')),
    owner_id {id} NOT NULL,
    variable TEXT NOT NULL,
    secret_id {id} NOT NULL REFERENCES company_secrets (id),
    PRIMARY KEY (owner_kind, owner_id, variable)
);
CREATE INDEX secret_references_by_secret ON secret_references (secret_id, owner_kind, owner_id);

-- The key that all nodes of this store seal with; one row, written with the first secret.
CREATE TABLE secrets_key (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    key_id TEXT NOT NULL,
    noted_at BIGINT NOT NULL
);
