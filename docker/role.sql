-- The first start of the postgres image runs this as its superuser, who could otherwise log in with
-- the ledger's password: from here on only from inside the container, through the socket.
DO $$
BEGIN
  EXECUTE format('CREATE ROLE orderly LOGIN PASSWORD %L',
                 rtrim(pg_read_file('/run/secrets/ledger_password'), E'\n'));
END $$;
CREATE DATABASE orderly OWNER orderly;
ALTER ROLE CURRENT_USER PASSWORD NULL;
