-- What lay in the workspace of a run of the files that its steps are to leave, before it began: by path, the stamp of the
-- file system. NULL: nobody has looked yet.
ALTER TABLE automation_runs ADD COLUMN files_before TEXT;
-- When the run came to work last; its time counts only while an agent works for it, so that this is not the same.
ALTER TABLE automation_runs ADD COLUMN admitted_at BIGINT;
-- What lay in folders in which an attempt may change some things and not others: by folder, the names of the others.
ALTER TABLE automation_attempts ADD COLUMN names_before TEXT;
