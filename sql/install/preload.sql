-- Said once: without preloading there is no scheduler, and that is easily overlooked. (A script's notices are not shown.)
DO $$
BEGIN
    IF pg_catalog.current_setting('shared_preload_libraries') !~ '(^|[,/"[:space:]])pg_trickle' THEN
        RAISE WARNING 'pg_trickle is not in shared_preload_libraries: stream tables are refreshed only on request'
            USING HINT = 'Add pg_trickle to shared_preload_libraries and restart the server.';
    END IF;
END
$$;
