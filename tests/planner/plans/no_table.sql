SELECT 1 + 1 AS two
-- plan
-- no pod is asked: the statement reads no table of theirs
-- final, at the analyst
--   SELECT 1 + 1 AS two
-- answer
--   two INTEGER
