-- Where runs work: environments, the leases that runs have on them, where sessions were made; and the services that are
-- kept running beside a workspace.
--
-- Leases name runs and issues without a foreign key: in PostgreSQL it would lock those rows out of order.

CREATE TABLE environments (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    description TEXT,
    driver TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'archived')),
    config TEXT NOT NULL,
    metadata TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX environments_by_company ON environments (company_id, created_at, id);
-- The machine of the server is one place.
CREATE UNIQUE INDEX environments_local ON environments (company_id) WHERE driver = 'local';

-- What an agent's runs work in when nothing nearer says.
ALTER TABLE agents ADD COLUMN default_environment_id {id};

CREATE TABLE environment_leases (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id) ON DELETE CASCADE,
    environment_id {id} NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    execution_workspace_id {id},
    issue_id {id},
    heartbeat_run_id {id},
    status TEXT NOT NULL CHECK (status IN ('active', 'released', 'expired', 'failed', 'retained')),
    lease_policy TEXT NOT NULL,
    provider TEXT NOT NULL,
    -- The name that the other side knows it by; ours is the id.
    provider_lease_id TEXT,
    acquired_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    expires_at BIGINT,
    released_at BIGINT,
    failure_reason TEXT,
    cleanup_status TEXT CHECK (cleanup_status IN ('pending', 'success', 'failed')),
    metadata TEXT,
    -- How often giving it back was tried, and when it is tried again.
    release_tries BIGINT NOT NULL DEFAULT 0,
    release_at BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX environment_leases_by_environment ON environment_leases (environment_id, acquired_at, id);
-- A run is in one place.
CREATE UNIQUE INDEX environment_leases_of_run ON environment_leases (heartbeat_run_id) WHERE status = 'active';
CREATE INDEX environment_leases_by_run ON environment_leases (heartbeat_run_id) WHERE heartbeat_run_id IS NOT NULL;
CREATE INDEX environment_leases_due ON environment_leases (release_at, id) WHERE status = 'active';

CREATE TABLE workspace_runtime_services (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id) ON DELETE CASCADE,
    project_id {id},
    project_workspace_id {id},
    execution_workspace_id {id},
    issue_id {id},
    scope_type TEXT NOT NULL CHECK (scope_type IN ('project_workspace', 'execution_workspace', 'run', 'agent')),
    scope_id TEXT,
    service_name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('starting', 'running', 'stopped', 'failed')),
    lifecycle TEXT NOT NULL CHECK (lifecycle IN ('shared', 'ephemeral')),
    reuse_key TEXT,
    command TEXT,
    cwd TEXT,
    port BIGINT,
    url TEXT,
    provider TEXT NOT NULL,
    provider_ref TEXT,
    owner_agent_id {id},
    started_by_run_id {id},
    last_used_at BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    stopped_at BIGINT,
    stop_policy TEXT,
    health_status TEXT NOT NULL CHECK (health_status IN ('unknown', 'healthy', 'unhealthy')),
    -- What is executed, as it was configured when the service was made: the whole of it, ports filled in.
    plan TEXT NOT NULL,
    -- Whose processes they are, and the server that may order them.
    node_id TEXT NOT NULL,
    -- Rises with each process.
    epoch BIGINT NOT NULL,
    stop_asked_at BIGINT,
    failure TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX workspace_runtime_services_by_company ON workspace_runtime_services (company_id, created_at, id);
CREATE INDEX workspace_runtime_services_by_scope ON workspace_runtime_services (company_id, scope_type, scope_id, service_name);
-- One live service of a name in a scope, and one live service of a reuse key: who comes second uses the first.
CREATE UNIQUE INDEX workspace_runtime_services_one ON workspace_runtime_services (company_id, scope_type, scope_id, service_name)
    WHERE status IN ('starting', 'running');
CREATE INDEX workspace_runtime_services_live ON workspace_runtime_services (node_id, id) WHERE status IN ('starting', 'running');
