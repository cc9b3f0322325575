-- The files of managed bundles: what agents are told before anything else.
CREATE TABLE instruction_files (
    agent_id {id} NOT NULL REFERENCES agents (id),
    path {id} NOT NULL,
    company_id {id} NOT NULL,
    content TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, path)
);
CREATE INDEX instruction_files_by_company ON instruction_files (company_id);
