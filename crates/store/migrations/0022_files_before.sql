-- What lay in the workspace of a run of the files that its steps are to leave, before it began: by path, the stamp of the
-- file system. NULL: nobody has looked yet.
ALTER TABLE automation_runs ADD COLUMN files_before TEXT;
