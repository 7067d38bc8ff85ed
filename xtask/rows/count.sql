-- The counts that triggers would have written and workers added up, for rows that were filled without triggers.
INSERT INTO celeriac.rollups
SELECT seconds, to_timestamp(seconds * floor(date_part('epoch', finished_at) / seconds)), queue, name, state, 0,
       sum(tasks), sum(runs), sum(runtime), max(max_runtime), celeriac.histogram(runtime_bucket, tasks::bigint),
       sum(runs), sum(wait), max(max_wait), celeriac.histogram(wait_bucket, tasks::bigint)
FROM (
    SELECT CASE WHEN finished_at > now() - interval '10 minutes' THEN 10 WHEN finished_at > now() - interval '2 days' THEN 60
                ELSE 3600 END AS seconds,
           date_trunc('minute', finished_at) + floor(extract(second FROM finished_at) / 10) * interval '10 s' AS finished_at,
           queue, name, state, count(*) AS tasks, count(runtime) AS runs,
           coalesce(sum(runtime), 0) AS runtime, max(runtime) AS max_runtime,
           width_bucket(runtime, celeriac.bucket_bounds()) AS runtime_bucket,
           coalesce(sum(extract(epoch FROM started_at - sent_at)::double precision), 0) AS wait,
           max(extract(epoch FROM started_at - sent_at)::double precision) AS max_wait,
           width_bucket(extract(epoch FROM started_at - sent_at)::double precision, celeriac.bucket_bounds()) AS wait_bucket
    FROM celeriac.tasks
    GROUP BY 1, 2, 3, 4, 5, runtime_bucket, wait_bucket
) AS counted
GROUP BY 1, 2, 3, 4, 5;
