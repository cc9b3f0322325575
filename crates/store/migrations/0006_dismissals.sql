-- What a person has put aside in the inbox: an approval, a request to join, a run.

CREATE TABLE inbox_dismissals (
    id {id} PRIMARY KEY,
    company_id {id} NOT NULL,
    user_id {id} NOT NULL,
    item_key {id} NOT NULL,
    dismissed_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX inbox_dismissals_one ON inbox_dismissals (company_id, user_id, item_key);
