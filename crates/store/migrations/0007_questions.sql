-- What waits for an answer in a company, for its inbox.
CREATE INDEX interactions_waiting ON issue_thread_interactions (company_id, created_at, id) WHERE status = 'pending';
