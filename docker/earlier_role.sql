-- In a volume of an earlier version orderly is the superuser that the cluster was made with, who can
-- neither be dropped nor, from PostgreSQL 16 on, be less. So that one gets another name and no password,
-- and another orderly gets all that is not the system's own. All of it, or nothing.
BEGIN;
SET LOCAL lock_timeout = '20s';
-- Nobody renames himself.
CREATE ROLE orderly_for_a_moment SUPERUSER;
SET SESSION AUTHORIZATION orderly_for_a_moment;
ALTER ROLE orderly RENAME TO postgres;
ALTER ROLE postgres PASSWORD NULL;
DO $$
BEGIN
  EXECUTE format('CREATE ROLE orderly LOGIN PASSWORD %L',
                 rtrim(pg_read_file('/run/secrets/ledger_password'), E'\n'));
END $$;
RESET SESSION AUTHORIZATION;
DROP ROLE orderly_for_a_moment;

ALTER DATABASE orderly OWNER TO orderly;
DO $$
DECLARE
  theirs record;
BEGIN
  FOR theirs IN
    SELECT nspname FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
      AND nspowner = 'postgres'::regrole
  LOOP
    EXECUTE format('ALTER SCHEMA %I OWNER TO orderly', theirs.nspname);
  END LOOP;
  FOR theirs IN
    SELECT oid::regclass AS name FROM pg_class
    WHERE relnamespace::regnamespace::text !~ '^"?(pg_|information_schema)'
      AND relowner = 'postgres'::regrole AND relkind IN ('r', 'p', 'v', 'm', 'S')
      -- A table takes the sequences of its columns along.
      AND NOT EXISTS (SELECT FROM pg_depend
                      WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
                        AND refobjsubid > 0 AND deptype IN ('a', 'i'))
  LOOP
    EXECUTE format('ALTER TABLE %s OWNER TO orderly', theirs.name);
  END LOOP;
END $$;
COMMIT;
