-- What is kept of the session of a task beside its id.
ALTER TABLE task_sessions ADD COLUMN params TEXT;

-- Sessions that a program did not find any more. They are never asked for again.
CREATE TABLE gone_sessions (
    agent_id {id} NOT NULL,
    adapter_type TEXT NOT NULL,
    session_id TEXT NOT NULL,
    company_id {id} NOT NULL,
    run_id {id} NOT NULL,
    found_at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, adapter_type, session_id)
);
CREATE INDEX gone_sessions_by_company ON gone_sessions (company_id);

-- Each process of a run: the session it was to resume, why it was not, and what reading its output again takes.
CREATE TABLE run_starts (
    run_id {id} NOT NULL,
    epoch BIGINT NOT NULL,
    adapter_type TEXT NOT NULL,
    config TEXT NOT NULL,
    session_asked TEXT,
    previous_session TEXT,
    fresh_reason TEXT,
    fresh_words TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (run_id, epoch)
);

-- The skills of a company.
CREATE TABLE company_skills (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id),
    key {id} NOT NULL,
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    markdown TEXT NOT NULL,
    source_type TEXT NOT NULL,
    source_locator TEXT,
    trust_level TEXT NOT NULL,
    metadata TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX company_skills_one_key ON company_skills (company_id, key);
CREATE UNIQUE INDEX company_skills_one_folder ON company_skills (company_id, slug);
