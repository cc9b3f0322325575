-- What people write whom the company does not trust: it waits until somebody who is trusted lets it go on.

ALTER TABLE memberships ADD COLUMN is_untrusted BOOLEAN NOT NULL DEFAULT FALSE;

-- The text itself lies here and nowhere else until it is released: what agents read never held it.
CREATE TABLE held_texts (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL REFERENCES companies (id),
    issue_id {id} NOT NULL REFERENCES issues (id) ON DELETE CASCADE,
    -- NULL: it is the title and the description of the issue.
    comment_id {id},
    author_user_id TEXT,
    author_agent_id {id},
    title TEXT,
    body TEXT,
    created_at BIGINT NOT NULL,
    decision TEXT CHECK (decision IN ('released', 'refused')),
    decided_by TEXT,
    decided_at BIGINT,
    CHECK ((decision IS NULL) = (decided_at IS NULL))
);
CREATE INDEX held_texts_of_issue ON held_texts (issue_id, created_at, id);
CREATE INDEX held_texts_open ON held_texts (company_id, issue_id) WHERE decision IS NULL;
CREATE INDEX held_texts_open_of_issue ON held_texts (issue_id) WHERE decision IS NULL;
